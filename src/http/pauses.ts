/**
 * Pauses of more than one account: beginning, listing and ending them.
 */
import { z } from "@hono/zod-openapi";
import { endPause, listPauses, type PauseStatus } from "../db/pauses.ts";
import type { Database } from "../db/pool.ts";
import { type Covered, PAUSE_COVERS, PAUSE_RATE_MAX, PAUSE_VALUE_MAX } from "../domain/pause.ts";
import { beginPause } from "../engine/pause.ts";
import { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";
import { requireAllAccounts } from "./access.ts";
import {
  checkOperation,
  OPERATING_CODES,
  operatorName,
  readOptionalJson,
  reasonSchema,
  refuseOtherSites,
} from "./operations.ts";
import { checkQuery, toRfc3339 } from "./query.ts";
import { type ApiContext, jsonAnswer, type Route } from "./route.ts";

const ONLY_SOME = "Pauses of others concern accounts that this key does not reach.";

const valueSchema = z.string().min(1).max(PAUSE_VALUE_MAX);

const beginSchema = reasonSchema
  .extend({
    all: z.literal(true).optional().openapi({ description: "Everything." }),
    type: valueSchema
      .optional()
      .openapi({ description: "Every event of this type; a `*` at its end stands for any end." }),
    prefix: valueSchema.optional().openapi({ description: "Every account whose id begins with this." }),
    until: z.iso
      .datetime({ offset: true })
      .optional()
      .openapi({ description: "When it ends by itself; without it, when it is resumed." }),
  })
  .refine(({ all, type, prefix }) => [all, type, prefix].filter((what) => what !== undefined).length === 1, {
    message: "takes exactly one of all, type and prefix",
  });

const endSchema = reasonSchema.extend({
  rate: z.int().min(1).max(PAUSE_RATE_MAX).optional().openapi({
    description: "Events a second that start, until fewer do by themselves; without it all may start at once.",
  }),
});

const coveredSchema = z.object({ covers: z.enum(PAUSE_COVERS), value: z.string() });

const begunSchema = coveredSchema.extend({
  id: z.int(),
  unconfirmed: z
    .array(z.object({ workerId: z.string(), host: z.string(), pid: z.int() }))
    .openapi({ description: "Workers that have not said within ten seconds that they know of it." }),
  inHand: z.int().openapi({ description: "Its events that were started before and have not ended yet." }),
});

const timeSchema = z.string().openapi({ format: "date-time" });

const pauseSchema = coveredSchema
  .extend({
    id: z.int(),
    since: timeSchema,
    until: timeSchema.nullable(),
    rate: z.int().nullable().openapi({ description: "Events a second that start, while it ends little by little." }),
    who: z.string(),
    why: z.string().nullable(),
    accounts: z.int().openapi({ description: "How many accounts rest because of it." }),
    events: z.int().openapi({ description: "Their pending events." }),
  })
  .openapi("Pause");

/** Beginning, listing and ending pauses. */
export function createPauseRoutes(database: Database, log: Log): Route[] {
  const tags = ["Pauses"];
  const ended = coveredSchema.extend({ id: z.int(), accounts: z.int() });
  return [
    {
      spec: {
        method: "get",
        path: "/v1/pauses",
        operationId: "listPauses",
        summary: "The pauses of more than one account",
        tags,
        responses: { 200: jsonAnswer("Found.", z.object({ pauses: z.array(pauseSchema) })) },
      },
      codes: ["database_unavailable", "database_not_migrated"],
      access: "read",
      handle: async (c) => {
        checkQuery(c, z.strictObject({}));
        requireAllAccounts(c, ONLY_SOME);
        return c.json({ pauses: (await listPauses(database)).map(toAnswer) });
      },
    },
    {
      spec: {
        method: "post",
        path: "/v1/pauses",
        operationId: "beginPause",
        summary: "Let no event of everything, of a type or of an id prefix start",
        tags,
        request: { body: { content: { "application/json": { schema: beginSchema } } } },
        responses: { 200: jsonAnswer("No event of it starts any more.", begunSchema) },
      },
      codes: OPERATING_CODES,
      access: "operate",
      handle: (c) => postPause(c, database, log),
    },
    {
      spec: {
        method: "post",
        path: "/v1/pauses/{id}/resume",
        operationId: "endPause",
        summary: "End a pause, at once or little by little",
        tags,
        request: {
          params: z.object({ id: z.string() }),
          body: { content: { "application/json": { schema: endSchema } } },
        },
        responses: { 200: jsonAnswer("Ended, or ending.", ended) },
      },
      codes: [...OPERATING_CODES, "pause_not_found"],
      access: "operate",
      handle: (c) => postResume(c, database, log),
    },
  ];
}

async function postPause(c: ApiContext, database: Database, log: Log): Promise<Response> {
  refuseOtherSites(c);
  const { type, prefix, ...asked } = checkOperation("pause", beginSchema, await readOptionalJson(c));
  const covered = coveredOf(type, prefix);
  requireReachOf(c, covered);
  const { until, why } = asked;
  const who = operatorName(c.get("caller"), asked.who);
  const begun = await beginPause(database, { ...covered, until, why, who });
  const unconfirmed = begun.unconfirmed.map(({ workerId }) => workerId);
  log[unconfirmed.length > 0 ? "warn" : "info"]({ ...begun, ...covered, unconfirmed, who }, "a pause has begun");
  return c.json({ ...covered, ...begun });
}

async function postResume(c: ApiContext, database: Database, log: Log): Promise<Response> {
  refuseOtherSites(c);
  const asked = checkOperation("resume", endSchema, await readOptionalJson(c));
  const id = c.req.param("id") ?? "";
  const found = (await listPauses(database)).find((pause) => String(pause.id) === id);
  if (found === undefined) throw new InturnError("pause_not_found", "There is no such pause, or it has ended.");
  const { covers, value } = found;
  requireReachOf(c, { covers, value });
  const who = operatorName(c.get("caller"), asked.who);
  const ended = await endPause(database, { ...asked, covers, value, who });
  log.info({ ...ended, covers, value, rate: asked.rate, who }, "a pause ends");
  return c.json({ covers, value, ...ended });
}

function coveredOf(type: string | undefined, prefix: string | undefined): Covered {
  if (type !== undefined) return { covers: "type", value: type };
  return prefix === undefined ? { covers: "all", value: "" } : { covers: "prefix", value: prefix };
}

/** A key that reaches only some accounts pauses no others. */
function requireReachOf(c: ApiContext, { covers, value }: Covered): void {
  const { accountPrefix } = c.get("caller");
  if (covers === "prefix" ? value.startsWith(accountPrefix) : accountPrefix === "") return;
  throw new InturnError(
    "scope_missing",
    `This key reaches accounts that begin with ${accountPrefix}: pause such a prefix.`,
  );
}

function toAnswer({ pausedSeconds: _paused, ...pause }: PauseStatus): object {
  return { ...pause, since: toRfc3339(pause.since), until: toRfc3339(pause.until) };
}
