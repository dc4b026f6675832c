/**
 * Reading the events of an account, and waiting until one is settled.
 */
import { z } from "@hono/zod-openapi";
import { type FailedAttempt, listFailedAttempts } from "../db/attempts.ts";
import { type EventResult, findEvent, findPage, readPage } from "../db/event-pages.ts";
import type { Database } from "../db/pool.ts";
import { ATTEMPT_OUTCOMES } from "../domain/attempt.ts";
import { EVENT_STATES } from "../domain/event.ts";
import type { AnswerBudget } from "../engine/answers.ts";
import type { Waiting } from "../engine/waiting.ts";
import { InturnError } from "../errors/error.ts";
import { requireAccount } from "./accounts.ts";
import { checkQuery, limitSchema, toRfc3339, wholeNumberSchema } from "./query.ts";
import type { ApiContext, Route } from "./route.ts";

/** Longest wait for an event. */
const WAIT_SECONDS_MAX = 60;

const pageQuerySchema = z.strictObject({
  after: wholeNumberSchema(0, Number.MAX_SAFE_INTEGER, 0).openapi({
    description: "The seq that the page begins after.",
  }),
  limit: limitSchema,
});

const eventQuerySchema = z.strictObject({
  wait: wholeNumberSchema(0, WAIT_SECONDS_MAX, 0).openapi({
    description:
      "Seconds to hold the answer until the event is settled; then, or when they are over, it is answered as it is.",
  }),
});

const seqSchema = z
  .string()
  .regex(/^[1-9]\d{0,15}$/)
  .openapi({ type: "integer", minimum: 1 });

const timeSchema = z.string().openapi({ format: "date-time" });

/** An event, as answers show it. */
const eventSchema = z
  .object({
    accountId: z.string(),
    seq: z.int(),
    eventId: z.string().nullable(),
    type: z.string().nullable(),
    receivedAt: timeSchema,
    startedAt: timeSchema.nullable(),
    processedAt: timeSchema.nullable().openapi({ description: "When it was settled." }),
    attempts: z.int(),
    state: z.enum(EVENT_STATES),
    waitMs: z.number().nullable().openapi({ description: "From its arrival to the start of its handler." }),
    durationMs: z.number().nullable().openapi({ description: "The handler's own time." }),
    error: z.string().nullable().openapi({ description: "Why it was set aside or skipped." }),
    metadata: z.looseObject({}).nullable().openapi({ description: "What came beside the data." }),
    data: z.unknown().openapi({ description: "As it was sent, to the letter." }),
  })
  .openapi("Event");

const pageSchema = z.object({
  events: z.array(eventSchema),
  next: z.int().nullable().openapi({ description: "The `after` of the next page; null on the last one." }),
});

const attemptsSchema = z.object({
  attempts: z.array(
    z.object({
      seq: z.int(),
      attempt: z.int(),
      startedAt: timeSchema.nullable(),
      endedAt: timeSchema,
      next: z.enum(ATTEMPT_OUTCOMES).openapi({ description: "What became of the event then." }),
      error: z.string().nullable(),
      workerId: z.string().nullable(),
    }),
  ),
});

/** What the routes stand on. */
export interface AccountEventOptions {
  readonly database: Database;
  readonly waiting: Waiting;
  readonly answers: AnswerBudget;
}

/** Reading events. */
export function createAccountEventRoutes(options: AccountEventOptions): Route[] {
  const answer = (schema: z.ZodType) => ({ description: "Found.", content: { "application/json": { schema } } });
  const tags = ["Events"];
  return [
    {
      spec: {
        method: "get",
        path: "/v1/accounts/{id}/events",
        operationId: "listEvents",
        summary: "An account's events in seq order, page by page",
        tags,
        request: { params: z.object({ id: z.string() }), query: pageQuerySchema },
        responses: {
          200: answer(pageSchema),
        },
      },
      codes: ["account_not_found", "overloaded", "database_unavailable", "database_not_migrated"],
      access: "read",
      handle: (c) => getEvents(c, options),
    },
    {
      spec: {
        method: "get",
        path: "/v1/accounts/{id}/events/{seq}",
        operationId: "getEvent",
        summary: "One event, as it is or once it is settled",
        tags,
        request: { params: z.object({ id: z.string(), seq: seqSchema }), query: eventQuerySchema },
        responses: {
          200: answer(eventSchema),
        },
      },
      codes: ["account_not_found", "event_not_found", "overloaded", "database_unavailable", "database_not_migrated"],
      access: "read",
      handle: (c) => getEvent(c, options),
    },
    {
      spec: {
        method: "get",
        path: "/v1/accounts/{id}/events/{seq}/attempts",
        operationId: "listAttempts",
        summary: "The attempts of an event that failed, the last 20",
        tags,
        request: { params: z.object({ id: z.string(), seq: seqSchema }) },
        responses: { 200: answer(attemptsSchema) },
      },
      codes: ["account_not_found", "event_not_found", "database_unavailable", "database_not_migrated"],
      access: "read",
      handle: (c) => getAttempts(c, options.database),
    },
  ];
}

async function getEvents(c: ApiContext, { database, answers }: AccountEventOptions): Promise<Response> {
  const { after, limit } = checkQuery(c, pageQuerySchema);
  const { accountId, events: lastSeq } = await requireAccount(c, database);
  const page = await findPage(database, { accountId, afterSeq: after, limit });
  answers.hold(c, page?.bytes ?? 0);
  const events = await readPage(database, page);
  const next = page === undefined || page.lastSeq >= lastSeq ? null : page.lastSeq;
  c.header("Content-Type", "application/json");
  return c.body(`{"events":[${events.map(toText).join(",")}],"next":${next}}`);
}

async function getEvent(c: ApiContext, { database, waiting, answers }: AccountEventOptions): Promise<Response> {
  const { wait } = checkQuery(c, eventQuerySchema);
  const { accountId, events, pending } = await requireAccount(c, database);
  const seq = seqOf(c);
  const page = await findEvent(database, accountId, seq);
  if (page !== undefined && wait > 0 && seq > events - pending)
    await waiting.untilSettled({ accountId, seq, ms: wait * 1_000, signal: c.req.raw.signal });
  answers.hold(c, page?.bytes ?? 0);
  const [event] = await readPage(database, page);
  if (event === undefined) throw eventNotFound(c);
  c.header("Content-Type", "application/json");
  return c.body(toText(event));
}

async function getAttempts(c: ApiContext, database: Database): Promise<Response> {
  checkQuery(c, z.strictObject({}));
  const { accountId } = await requireAccount(c, database);
  const seq = seqOf(c);
  if ((await findEvent(database, accountId, seq)) === undefined) throw eventNotFound(c);
  const attempts = await listFailedAttempts(database, { accountId, fromSeq: seq, toSeq: seq });
  const toAnswer = (attempt: FailedAttempt) => ({
    ...attempt,
    startedAt: toRfc3339(attempt.startedAt),
    endedAt: toRfc3339(attempt.endedAt),
  });
  return c.json({ attempts: attempts.map(toAnswer) });
}

/** The seq of the path; 0, which no event has, for what is no seq. */
function seqOf(c: ApiContext): number {
  const text = c.req.param("seq") ?? "";
  return seqSchema.safeParse(text).success ? Number(text) : 0;
}

function eventNotFound(c: ApiContext): InturnError {
  const named = (c.req.param("seq") ?? "").slice(0, 20);
  return new InturnError("event_not_found", `This account has no event ${named}, or it is no longer kept.`);
}

/** The data goes out as the text that it was stored as: parsing it here could change a number. */
function toText(event: EventResult): string {
  const { data, metadata, bytes: _bytes, ...rest } = event;
  const { receivedAt, startedAt, processedAt } = rest;
  const times = {
    receivedAt: toRfc3339(receivedAt),
    startedAt: toRfc3339(startedAt),
    processedAt: toRfc3339(processedAt),
  };
  return `${JSON.stringify({ ...rest, ...times }).slice(0, -1)},"metadata":${metadata},"data":${data}}`;
}
