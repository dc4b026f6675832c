/**
 * Signed webhooks: the body stays the sender's own, and a signature over its bytes says who sent it.
 */
import { z } from "@hono/zod-openapi";
import type { Source } from "../db/sources.ts";
import { EVENT_TYPE_LENGTH_MAX, ID_LENGTH_MAX, type NewEvent } from "../domain/event.ts";
import { POINTERS, type SourceScheme, valueAt } from "../domain/source.ts";
import { type Access, createWebhookSecret } from "../engine/access.ts";
import type { Appender } from "../engine/append.ts";
import type { BodyBudget } from "../engine/body-budget.ts";
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
import { type Headers, SIGNATURES } from "./signatures.ts";
import { traceHeadersSchema } from "./trace.ts";

/** What the route stands on. */
export interface WebhookOptions {
  readonly access: Access;
  readonly appender: Appender;
  readonly limits: IngestLimits;
  readonly budget: BodyBudget;
}

/** Receiving signed webhooks. */
export function createWebhookRoutes(options: WebhookOptions): Route[] {
  return [
    {
      spec: {
        method: "post",
        path: "/v1/sources/{source}",
        operationId: "receiveWebhook",
        summary: "Receive a signed webhook",
        description: "Signed in the way of the source's scheme, over the bytes of the body.",
        tags: ["Events"],
        request: {
          params: z.object({ source: z.string() }),
          headers: traceHeadersSchema,
          body: {
            required: true,
            content: {
              "application/json": { schema: z.looseObject({}).openapi({ description: "Whatever the source sends." }) },
            },
          },
        },
        responses: {
          200: {
            description: "A sender's question whether there is somebody: nothing is stored.",
            content: { "text/plain": { schema: z.string() } },
          },
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
        "wrong_cell",
        "bucket_moving",
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
  const headers = c.req.header();
  // Before anything is read: hashing a large body costs more than looking at its headers.
  if (!Object.values(SIGNATURES).some((signature) => signature.isPresent(headers))) throw signatureInvalid();
  // Whose body it is is known only when it is there.
  const memory = budget.of(networkOf(c));
  return await withBody(c, { bodyBytesMax: limits.bodyBytesMax, memory }, async (bytes) => {
    if (bytes.byteLength === 0) throw bodyMissing();
    const source = (await access()).sourceOf(c.req.param("source") ?? "");
    // An unknown source and a wrong signature are answered alike, and take as long: names of sources are not to be found out.
    const { scheme, secrets } = source ?? { scheme: "standard", secrets: [NOBODYS_SECRET] };
    const { isPresent, fits } = SIGNATURES[scheme];
    const isSigned = isPresent(headers) && secrets.filter((secret) => fits(secret, bytes, headers)).length > 0;
    if (source === undefined || !isSigned) throw signatureInvalid();
    const text = decodeUtf8(bytes);
    const body = parseJson(text);
    const question = answerToQuestion(scheme, body, headers);
    if (question !== undefined) return c.text(question);
    const event = toNewEvent(text, body, { source, headers });
    const metadata = JSON.stringify({ source: source.name, ...c.get("trace").context });
    const [appended] = await appendEvents(appender, [{ ...event, metadata }], { isBatch: false });
    return c.json(appended, 202);
  });
}

/** Nobody can sign with it. */
const NOBODYS_SECRET = createWebhookSecret();

function signatureInvalid(): InturnError {
  return new InturnError("signature_invalid", "The signature does not fit, is older than five minutes, or is missing.");
}

/** Slack and GitHub ask once whether there is somebody at this address: that is no event. */
function answerToQuestion(scheme: SourceScheme, body: unknown, headers: Headers): string | undefined {
  if (scheme === "github" && headers["x-github-event"] === "ping") return "pong";
  const { type, challenge } = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  return scheme === "slack" && type === "url_verification" && typeof challenge === "string"
    ? challenge.slice(0, 1_000)
    : undefined;
}

/** What is read of a webhook beside its data: where its source says, or its scheme. */
function toNewEvent(
  text: string,
  body: unknown,
  { source, headers }: { source: Source; headers: Headers },
): Omit<NewEvent, "metadata"> {
  const pointers = POINTERS[source.scheme];
  const { timestamp } = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const typeChecked = lineSchema(EVENT_TYPE_LENGTH_MAX).safeParse(typeOf(source, body, headers));
  const timeChecked = timeSchema.safeParse(timestamp);
  const [data] = sliceMember(`{"data":${text}}`, "data");
  return {
    accountId: readId("account", source.accountPointer, { body, headers }),
    data: checkDepth({ text: data?.text ?? "null", depth: data?.depth ?? 0 }, []),
    type: typeChecked.success ? typeChecked.data : null,
    id: readId("event", source.idPointer ?? pointers.id, { body, headers }),
    occurredAt: timeChecked.success ? timeChecked.data : null,
    expectedSeq: null,
  };
}

/** The type, where there is one. The kind of an update of Telegram's is the name of the member that is not its id. */
function typeOf({ scheme, typePointer }: Source, body: unknown, headers: Headers): unknown {
  if (scheme === "telegram" && typePointer === null)
    return Object.keys(body as object).find((name) => name !== "update_id");
  return valueAt(typePointer ?? POINTERS[scheme].type, body, headers);
}

/** A text, or a whole number, which senders like for ids. */
function readId(
  what: "account" | "event",
  pointers: string,
  { body, headers }: { body: unknown; headers: Headers },
): string {
  const value = valueAt(pointers, body, headers);
  const text = Number.isSafeInteger(value) ? String(value) : value;
  const checked = (what === "account" ? accountIdSchema : lineSchema(ID_LENGTH_MAX)).safeParse(text);
  if (checked.success) return checked.data;
  const [first = "", ...more] = pointers.split("\n");
  const path = first.startsWith("header:") ? [first.slice("header:".length)] : first.split("/").slice(1);
  const others = more.length === 0 ? "" : `, or one of ${more.length} others,`;
  throw eventInvalid(
    path,
    `${others === "" ? "" : `this${others} `}must name the ${what}: a text of 1 to ${ID_LENGTH_MAX} characters, or a whole number`,
  );
}
