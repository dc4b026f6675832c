/**
 * Sources of signed webhooks: whose way of signing it is, and where a webhook says what Inturn needs to know.
 */
export const SOURCE_SCHEMES = ["standard", "stripe", "github", "slack", "shopify", "telegram", "hmac"] as const;

/** One of {@link SOURCE_SCHEMES}. */
export type SourceScheme = (typeof SOURCE_SCHEMES)[number];

/** Where a webhook says something: JSON pointers into its body, or `header:<name>`, one a line. The first that is there counts. */
export interface Pointers {
  readonly account: string;
  readonly id: string;
  readonly type: string;
}

/** Every kind of update that Telegram sends has the chat, or the person, somewhere else. */
const TELEGRAM_CHATS =
  "message edited_message channel_post edited_channel_post business_message my_chat_member chat_member chat_join_request message_reaction callback_query/message chat_boost";

const TELEGRAM_PEOPLE = "callback_query inline_query chosen_inline_result pre_checkout_query shipping_query";

const TELEGRAM_ACCOUNT = [
  TELEGRAM_CHATS.split(" ").map((kind) => `/${kind}/chat/id`),
  TELEGRAM_PEOPLE.split(" ").map((kind) => `/${kind}/from/id`),
  ["/poll_answer/user/id", "/poll/id", "/update_id"],
]
  .flat()
  .join("\n");

/** Where each scheme has it, unless the source says otherwise. An account that is empty has to be said. */
export const POINTERS: Readonly<Record<SourceScheme, Pointers>> = {
  standard: { account: "", id: "header:webhook-id", type: "/type" },
  stripe: { account: "/data/object/customer\n/account\n/data/object/id", id: "/id", type: "/type" },
  github: {
    account: "/repository/full_name\n/organization/login",
    id: "header:x-github-delivery",
    type: "header:x-github-event",
  },
  slack: { account: "/team_id", id: "/event_id", type: "/event/type\n/type" },
  shopify: {
    account: "header:x-shopify-shop-domain",
    id: "header:x-shopify-event-id\nheader:x-shopify-webhook-id",
    type: "header:x-shopify-topic",
  },
  telegram: { account: TELEGRAM_ACCOUNT, id: "/update_id", type: "" },
  hmac: { account: "", id: "/id\nheader:x-request-id", type: "/type" },
};

const ONE_POINTER = /^(?:(?:\/(?:[^~/\n]|~[01])*)+|header:[a-z0-9-]+)$/;

/** Characters of all pointers of one thing. */
const POINTERS_LENGTH_MAX = 2_000;

/** Whether a text is pointers, as {@link Pointers} has them. */
export function arePointers(text: string): boolean {
  return text.length <= POINTERS_LENGTH_MAX && text.split("\n").every((pointer) => ONE_POINTER.test(pointer));
}

/** What the pointers lead to in a body and its headers; undefined when none leads anywhere. */
export function valueAt(pointers: string, body: unknown, headers: Readonly<Record<string, string>>): unknown {
  for (const pointer of pointers.split("\n")) {
    const value = pointer.startsWith("header:") ? headers[pointer.slice("header:".length)] : memberAt(pointer, body);
    if (value !== undefined && value !== null && value !== "") return value;
  }
  return undefined;
}

function memberAt(pointer: string, body: unknown): unknown {
  let value = body;
  for (const step of pointer.split("/").slice(1)) {
    const name = step.replaceAll("~1", "/").replaceAll("~0", "~");
    value =
      typeof value === "object" && value !== null && Object.hasOwn(value, name)
        ? (value as Record<string, unknown>)[name]
        : undefined;
  }
  return value;
}
