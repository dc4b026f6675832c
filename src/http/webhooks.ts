/**
 * Signed webhooks, as Standard Webhooks has them: the body stays the sender's own, and a signature over its bytes says who
 * sent it.
 */
import { z } from "@hono/zod-openapi";
import { Webhook } from "standardwebhooks";
import { EVENT_TYPE_LENGTH_MAX, ID_LENGTH_MAX, type NewEvent } from "../domain/event.ts";
import { type Access, createWebhookSecret } from "../engine/access.ts";
import type { Appender } from "../engine/append.ts";
import { type BodyBudget } from "../engine/body-budget.ts";
import { InturnError } from "../errors/error.ts";
import { networkOf } from "./address.ts";
import { appendEvents } from "./append.ts";
import { bodyMissing, decodeUtf8, withBody } from "./body.ts";
import {
  accountIdSchema,
  checkDepth,
  eventInvalid,
  type IngestLimits,
  lineSchema,
  timeSchema,
} from "./event-schema.ts";
import { appendedSchema } from "./events.ts";
import { parseJson, sliceMember } from "./json-text.ts";
import { mediaTypeOf, refuseEncoding, unsupportedType } from "./media-type.ts";
import type { ApiContext, Route } from "./route.ts";
import { traceHeadersSchema } from "./trace.ts";

/** What the route stands on. */
export interface WebhookOptions {
  readonly access: Access;
  readonly appender: Appender;
  readonly limits: IngestLimits;
  readonly budget: BodyBudget;
}

const signatureHeadersSchema = z.object({
  "webhook-id": z.string().openapi({ description: "The event's id." }),
  "webhook-timestamp": z.string().openapi({ description: "Seconds since 1970; five minutes old at most." }),
  "webhook-signature": z.string().openapi({ description: "`v1,` and the signature; several, separated by spaces." }),
});

/** Receiving signed webhooks. */
export function createWebhookRoutes(options: WebhookOptions): Route[] {
  return [
    {
      spec: {
        method: "post",
        path: "/v1/sources/{source}",
        operationId: "receiveWebhook",
        summary: "Receive a signed webhook",
        tags: ["Events"],
        request: {
          params: z.object({ source: z.string() }),
          headers: traceHeadersSchema.extend(signatureHeadersSchema.shape),
          body: {
            required: true,
            content: {
              "application/json": { schema: z.looseObject({}).openapi({ description: "Whatever the source sends." }) },
            },
          },
        },
        responses: {
          202: { description: "Stored.", content: { "application/json": { schema: appendedSchema } } },
        },
      },
      codes: [
        "signature_invalid",
        "body_missing",
        "body_incomplete",
        "json_malformed",
        "body_too_large",
        "media_type_unsupported",
        "event_invalid",
        "event_id_reused",
        "account_full",
        "backlog_full",
        "overloaded",
        "account_locked",
        "database_unavailable",
        "database_not_migrated",
      ],
      access: "signed",
      isTraced: true,
      handle: (c) => postWebhook(c, options),
    },
  ];
}

async function postWebhook(c: ApiContext, options: WebhookOptions): Promise<Response> {
  const { access, appender, budget, limits } = options;
  refuseEncoding(c);
  if (mediaTypeOf(c) !== "application/json") throw unsupportedType(c, ["application/json"]);
  const name = c.req.param("source") ?? "";
  // Before anything is read: hashing a large body costs more than looking at its headers.
  if (!isWellSigned(c)) throw signatureInvalid();
  // Whose body it is is known only when it is there.
  const memory = budget.of(networkOf(c));
  return await withBody(c, { bodyBytesMax: limits.bodyBytesMax, memory }, async (bytes) => {
    if (bytes.byteLength === 0) throw bodyMissing();
    const book = await access();
    const source = book.sourceOf(name);
    const headers = c.req.header();
    // An unknown source and a wrong signature are answered alike, and take as long: names of sources are not to be found out.
    const isSigned = (source?.secrets ?? [NOBODYS_SECRET]).some((secret) => fits(secret, bytes, headers));
    if (source === undefined || !isSigned) throw signatureInvalid();
    const event = toNewEvent(decodeUtf8(bytes), source, headers["webhook-id"] ?? "");
    const metadata = JSON.stringify({ source: name, ...c.get("trace").context });
    const [appended] = await appendEvents(appender, [{ ...event, metadata }], false);
    return c.json(appended, 202);
  });
}

/** Nobody can sign with it. */
const NOBODYS_SECRET = createWebhookSecret();

/** How far a signature's time may be from ours, in seconds. */
const CLOCK_SECONDS_MAX = 300;

function isWellSigned(c: ApiContext): boolean {
  const { success } = signatureHeadersSchema.safeParse(c.req.header());
  const seconds = Number(c.req.header("webhook-timestamp"));
  return success && Math.abs(Date.now() / 1_000 - seconds) <= CLOCK_SECONDS_MAX;
}

function signatureInvalid(): InturnError {
  return new InturnError("signature_invalid", "The signature does not fit, is older than five minutes, or is missing.");
}

function fits(secret: string, bytes: Uint8Array, headers: Record<string, string>): boolean {
  try {
    new Webhook(secret).verify(Buffer.from(bytes), headers, { jsonParse: false });
    return true;
  } catch {
    return false;
  }
}

function toNewEvent(text: string, source: { accountPointer: string }, id: string): Omit<NewEvent, "metadata"> {
  const body = parseJson(text);
  const { type, timestamp } = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const idChecked = lineSchema(ID_LENGTH_MAX).safeParse(id);
  if (!idChecked.success) throw eventInvalid(["webhook-id"], `must have 1 to ${ID_LENGTH_MAX} characters`);
  const typeChecked = lineSchema(EVENT_TYPE_LENGTH_MAX).safeParse(type);
  const timeChecked = timeSchema.safeParse(timestamp);
  const [data] = sliceMember(`{"data":${text}}`, "data");
  return {
    accountId: readAccountId(body, source.accountPointer),
    data: checkDepth({ text: data?.text ?? "null", depth: data?.depth ?? 0 }, []),
    type: typeChecked.success ? typeChecked.data : null,
    id,
    occurredAt: timeChecked.success ? timeChecked.data : null,
    expectedSeq: null,
  };
}

/** The value that the pointer names: a text, or a whole number, which senders like for ids. */
function readAccountId(body: unknown, pointer: string): string {
  const path = pointer
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  let value = body;
  for (const step of path) {
    const isIn = typeof value === "object" && value !== null && Object.hasOwn(value, step);
    value = isIn ? (value as Record<string, unknown>)[step] : undefined;
  }
  const text = Number.isSafeInteger(value) ? String(value) : value;
  const checked = accountIdSchema.safeParse(text);
  if (checked.success) return checked.data;
  throw eventInvalid(path, `must name the account: a text of 1 to ${ID_LENGTH_MAX} characters, or a whole number`);
}
