/**
 * Finding events by what is known of them.
 */
import { z } from "@hono/zod-openapi";
import { FIRST_EVENT, type FoundEvent, findEvents } from "../db/find-events.ts";
import type { Database } from "../db/pool.ts";
import { EVENT_STATES, ID_LENGTH_MAX } from "../domain/event.ts";
import { checkQuery, cursorAccountSchema, limitSchema, readCursor, toRfc3339, writeCursor } from "./query.ts";
import { type ApiContext, jsonAnswer, type Route } from "./route.ts";

const TEXT_MAX = 2_000;

/** PostgreSQL's text has no zero byte. */
const textSchema = (most: number) =>
  z
    .string()
    .min(1)
    .max(most)
    .refine((text) => !text.includes("\0"), "must not contain a zero byte")
    .optional();

const momentSchema = z.iso.datetime({ offset: true }).optional();

const querySchema = z.strictObject({
  id: textSchema(ID_LENGTH_MAX).openapi({ description: "The event's id." }),
  type: textSchema(ID_LENGTH_MAX).openapi({ description: "With `*` at its end, what the type begins with." }),
  error: textSchema(TEXT_MAX).openapi({ description: "A part of the error, in capitals or not." }),
  state: z.enum(EVENT_STATES).optional(),
  search: textSchema(ID_LENGTH_MAX).openapi({ description: "What the account ids begin with." }),
  receivedFrom: momentSchema.openapi({ description: "That arrived at this time or later." }),
  receivedTo: momentSchema.openapi({ description: "That arrived at this time or earlier." }),
  cursor: z.string().max(TEXT_MAX).optional().openapi({ description: "The `next` of the page before." }),
  limit: limitSchema,
});

const timeSchema = z.string().openapi({ format: "date-time" });

const foundSchema = z
  .object({
    accountId: z.string(),
    seq: z.int(),
    eventId: z.string().nullable(),
    type: z.string().nullable(),
    receivedAt: timeSchema,
    startedAt: timeSchema.nullable(),
    processedAt: timeSchema.nullable(),
    attempts: z.int(),
    state: z.enum(EVENT_STATES),
    waitMs: z.number().nullable(),
    durationMs: z.number().nullable(),
    error: z
      .string()
      .nullable()
      .openapi({ description: "Why it was set aside or skipped, or why its last attempt failed." }),
  })
  .openapi("FoundEvent");

const pageSchema = z.object({
  events: z.array(foundSchema),
  looked: z
    .object({ accounts: z.int(), events: z.int() })
    .openapi({ description: "How much was looked at for this page: 20,000 accounts or events at most." }),
  next: z.string().nullable().openapi({
    description: "The `cursor` to look on with, also when nothing was found yet; null when everything was looked at.",
  }),
});

/** `GET /v1/events`. */
export function createFindEventsRoute(database: Database): Route {
  return {
    spec: {
      method: "get",
      path: "/v1/events",
      operationId: "findEvents",
      summary: "Events by id, type, error, state or time, without their data",
      tags: ["Events"],
      request: { query: querySchema },
      responses: { 200: jsonAnswer("Found.", pageSchema) },
    },
    codes: ["database_unavailable", "database_not_migrated"],
    access: "read",
    handle: (c) => getEvents(c, database),
  };
}

async function getEvents(c: ApiContext, database: Database): Promise<Response> {
  const { search = "", cursor, limit, ...wanted } = checkQuery(c, querySchema);
  const after = cursor === undefined ? FIRST_EVENT : readCursor(cursor, cursorSchema, "search");
  const { accountPrefix } = c.get("caller");
  const [longer, shorter] = search.length >= accountPrefix.length ? [search, accountPrefix] : [accountPrefix, search];
  if (!longer.startsWith(shorter)) return c.json({ events: [], looked: { accounts: 0, events: 0 }, next: null });
  const found = await findEvents(database, { filter: { ...wanted, prefix: longer }, after, limit });
  return c.json({
    events: found.events.map(toAnswer),
    looked: { accounts: found.accountsLooked, events: found.eventsLooked },
    next: found.next === null ? null : writeCursor(found.next),
  });
}

const cursorSchema = z.strictObject({ accountId: cursorAccountSchema, seq: z.int().min(0) });

function toAnswer(event: FoundEvent): FoundEvent {
  const { receivedAt, startedAt, processedAt } = event;
  return {
    ...event,
    receivedAt: toRfc3339(receivedAt),
    startedAt: toRfc3339(startedAt),
    processedAt: toRfc3339(processedAt),
  };
}
