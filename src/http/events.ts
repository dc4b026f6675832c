/**
 * Sending events: `POST /v1/events`, and `POST /v1/accounts/{id}/events` for one account.
 */
import { type RouteConfig, z } from "@hono/zod-openapi";
import { senderOf } from "../domain/access.ts";
import type { Appender } from "../engine/append.ts";
import { type BodyBudget } from "../engine/body-budget.ts";
import type { ErrorCode } from "../errors/codes.ts";
import { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";
import { admit } from "./access.ts";
import { appendEvents, atomicSchema, readAtomic } from "./append.ts";
import { bodyMissing, decodeUtf8, withBody } from "./body.ts";
import { CLOUD_EVENT_TYPES, CloudEvents, isBinaryMode } from "./cloud-events.ts";
import { accountIdSchema, check, type IngestLimits } from "./event-schema.ts";
import { type EventContext, JsonEvents, type ReadEvents } from "./json-events.ts";
import { mediaTypeOf, refuseEncoding, unsupportedType } from "./media-type.ts";
import { NDJSON_TYPES, ndjsonAnswerSchema, takeLines } from "./ndjson.ts";
import type { RateLimits } from "./rate-limits.ts";
import type { ApiContext, Route } from "./route.ts";
import { traceHeadersSchema } from "./trace.ts";

/** The answer for one stored event. */
export const appendedSchema = z
  .object({
    accountId: z.string(),
    seq: z.int().openapi({ description: "The event's number in its account: 1, 2, 3, …" }),
    duplicate: z
      .boolean()
      .openapi({ description: "Whether it had been stored before; then `seq` is the first copy's." }),
  })
  .openapi("Appended");

/** What the routes stand on. */
export interface EventRouteOptions {
  readonly appender: Appender;
  readonly limits: IngestLimits;
  /** Shared by all routes that read large bodies. */
  readonly budget: BodyBudget;
  readonly rates: RateLimits;
  readonly log: Log;
  readonly onRefused?: (code: ErrorCode) => void;
}

interface Ingest {
  readonly onRefused: ((code: ErrorCode) => void) | undefined;
  readonly log: Log;
  readonly rates: RateLimits;
  readonly appender: Appender;
  readonly limits: IngestLimits;
  readonly budget: BodyBudget;
  readonly json: JsonEvents;
  readonly cloudEvents: CloudEvents;
}

/** Sending events. */
export function createEventRoutes(options: EventRouteOptions): Route[] {
  const { appender, budget, rates, log, onRefused, limits } = options;
  const ingest = {
    appender,
    rates,
    log,
    onRefused,
    limits,
    budget,
    json: new JsonEvents(),
    cloudEvents: new CloudEvents(),
  };
  const idSchema = accountIdSchema;
  const pathSchema = z.object({ accountId: idSchema });
  return [
    {
      spec: {
        method: "post",
        path: "/v1/events",
        operationId: "sendEvents",
        summary: "Send one event or many",
        ...describe(ingest, "needed"),
      },
      codes: CODES,
      access: "ingest",
      isTraced: true,
      handle: (c) => postEvents(c, ingest, undefined),
    },
    {
      spec: {
        method: "post",
        path: "/v1/accounts/{id}/events",
        operationId: "sendAccountEvents",
        summary: "Send events of one account",
        ...describe(ingest, "known", z.object({ id: idSchema })),
      },
      codes: CODES,
      access: "ingest",
      isTraced: true,
      handle: (c) => postEvents(c, ingest, check(pathSchema, { accountId: c.req.param("id") }).accountId),
    },
  ];
}

const CODES = [
  "body_missing",
  "body_incomplete",
  "header_invalid",
  "json_malformed",
  "account_not_found",
  "query_invalid",
  "wrong_cell",
  "bucket_moving",
  "batch_over_cells",
  "refused_in_part",
  "stored_in_part",
  "event_id_reused",
  "seq_unexpected",
  "body_too_large",
  "media_type_unsupported",
  "event_invalid",
  "rate_exceeded",
  "account_full",
  "backlog_full",
  "overloaded",
  "account_locked",
  "database_unavailable",
  "database_not_migrated",
] as const;

function describe(
  ingest: Ingest,
  accountIs: "needed" | "known",
  params?: z.ZodObject,
): Pick<RouteConfig, "tags" | "request" | "responses"> {
  const { one, many } = ingest.json.schemasFor(accountIs);
  const lines = Object.fromEntries(
    NDJSON_TYPES.map((type) => [type, { schema: z.string().openapi({ description: "One event per line." }) }]),
  );
  return {
    tags: ["Events"],
    request: {
      ...(params !== undefined && { params }),
      query: z.object({ atomic: atomicSchema.optional() }),
      headers: traceHeadersSchema.extend({
        "Idempotency-Key": z
          .string()
          .max(202)
          .optional()
          .openapi({ description: "The id of an event that has none of its own." }),
      }),
      body: {
        required: true,
        content: {
          "application/json": { schema: z.union([one, many]) },
          ...lines,
          [CLOUD_EVENT_TYPES.one]: { schema: ingest.cloudEvents.schema },
          [CLOUD_EVENT_TYPES.batch]: { schema: z.array(ingest.cloudEvents.schema) },
        },
      },
    },
    responses: {
      200: {
        description: "An answer for each line.",
        content: { "application/x-ndjson": { schema: ndjsonAnswerSchema } },
      },
      202: {
        description: "Stored; an array is answered in its order.",
        content: {
          "application/json": { schema: z.union([appendedSchema, z.object({ events: z.array(appendedSchema) })]) },
        },
      },
    },
  };
}

async function postEvents(c: ApiContext, ingest: Ingest, accountId: string | undefined): Promise<Response> {
  refuseEncoding(c);
  const type = mediaTypeOf(c);
  const caller = c.get("caller");
  const memory = ingest.budget.of(senderOf(caller));
  const context = { accountId, idempotencyKey: readIdempotencyKey(c), trace: c.get("trace") };
  if (NDJSON_TYPES.includes(type)) {
    const { appender, rates, log, json: reader } = ingest;
    // A key's share for a second is the most that one batch may have.
    const batchEventsMax = Math.min(ingest.limits.batchEventsMax, caller.eventsPerSecond ?? Number.POSITIVE_INFINITY);
    const limits = { ...ingest.limits, batchEventsMax, memory };
    return await takeLines(c, context, {
      appender,
      reader,
      limits,
      log,
      onRefused: ingest.onRefused,
      admit: (events) => admit(c, events, rates),
    });
  }
  const read = readerFor(c, type, ingest, context);
  const isAtomic = readAtomic(c);
  return await withBody(c, { bodyBytesMax: ingest.limits.bodyBytesMax, memory }, async (bytes) => {
    if (bytes.byteLength === 0 && !isBinaryMode(c)) throw bodyMissing();
    const { events, isBatch } = read(decodeUtf8(bytes));
    const appended = await appendEvents(ingest.appender, events, {
      isBatch,
      isAtomic,
      admit: (all) => admit(c, all, ingest.rates),
    });
    return c.json(isBatch ? { events: appended } : appended[0], 202);
  });
}

/** What reads a body of this type. @throws InturnError `media_type_unsupported` */
function readerFor(c: ApiContext, type: string, ingest: Ingest, context: EventContext): (text: string) => ReadEvents {
  const { json, cloudEvents } = ingest;
  if (type === CLOUD_EVENT_TYPES.one) return (text) => cloudEvents.readJson(text, false, context);
  if (type === CLOUD_EVENT_TYPES.batch) return (text) => cloudEvents.readJson(text, true, context);
  if (isBinaryMode(c)) {
    const isEmpty = c.req.header("content-type") === undefined;
    if (isEmpty || type === "application/json" || type.endsWith("+json")) {
      return (text) => cloudEvents.readBinary(c, text, context);
    }
  } else if (type === "application/json") return (text) => json.read(text, context);
  throw unsupportedType(c, ["application/json", NDJSON_TYPES[0] ?? "", ...Object.values(CLOUD_EVENT_TYPES)]);
}

/** Bare, or in quotes as a structured field has it. */
const IDEMPOTENCY_KEY = /^(?:"([\x20\x21\x23-\x5b\x5d-\x7e]{1,200})"|([\x21-\x7e]{1,200}))$/;

function readIdempotencyKey(c: ApiContext): string | undefined {
  const header = c.req.header("idempotency-key");
  if (header === undefined) return undefined;
  const [, quoted, bare] = IDEMPOTENCY_KEY.exec(header) ?? [];
  const key = quoted ?? bare;
  if (key !== undefined) return key;
  throw new InturnError(
    "header_invalid",
    "Idempotency-Key must be 1 to 200 visible ASCII characters; nothing was stored.",
  );
}
