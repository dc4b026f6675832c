/**
 * The targets: which are away, and opening and closing them by hand.
 */
import { z } from "@hono/zod-openapi";
import type { Database } from "../db/pool.ts";
import { listTargetStatus, operateTarget, type TargetStatus } from "../db/target-status.ts";
import { TARGET_NAME_MAX, TARGET_STATES, TARGET_VERBS, type TargetVerb } from "../domain/target.ts";
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
import type { ApiContext, Route } from "./route.ts";

/** More are not listed. */
const TARGETS_MAX = 1_000;

/** A target concerns all accounts: who reaches only some of them does not see it. */
const ONLY_SOME = "Targets concern all accounts, and this key reaches only some.";

const timeSchema = z.string().nullable().openapi({ format: "date-time" });

const targetSchema = z
  .object({
    target: z.string(),
    state: z.enum(TARGET_STATES),
    awaySince: timeSchema,
    reason: z.string().nullable(),
    nextProbeAt: timeSchema.openapi({ description: "When it is tried again, with one event." }),
    failedProbes: z.int(),
    probeAccount: z.string().nullable().openapi({ description: "The account whose event tries it now." }),
    byHand: z.boolean().openapi({ description: "Whether a person opened it." }),
    waitingAccounts: z.int(),
    waitingEvents: z.int(),
  })
  .openapi("Target");

const SCHEMAS = {
  open: reasonSchema.extend({
    until: z.iso
      .datetime({ offset: true })
      .optional()
      .openapi({ description: "When it is tried again; without it, when a person closes it." }),
  }),
  close: reasonSchema,
} satisfies Record<TargetVerb, z.ZodType>;

const SUMMARIES: Record<TargetVerb, string> = {
  open: "Let no event of this target start",
  close: "Let the events of this target start again, little by little",
};

/** Reading and operating the targets. */
export function createTargetRoutes(database: Database, log: Log): Route[] {
  const list: Route = {
    spec: {
      method: "get",
      path: "/v1/targets",
      operationId: "listTargets",
      summary: "The targets that are away, and those that accounts still wait for",
      tags: ["Targets"],
      responses: {
        200: {
          description: "Found.",
          content: { "application/json": { schema: z.object({ targets: z.array(targetSchema) }) } },
        },
      },
    },
    codes: ["database_unavailable", "database_not_migrated"],
    access: "read",
    handle: async (c) => {
      checkQuery(c, z.strictObject({}));
      requireAllAccounts(c, ONLY_SOME);
      return c.json({ targets: (await listTargetStatus(database, TARGETS_MAX)).map(toAnswer) });
    },
  };
  return [list, ...TARGET_VERBS.map((verb) => createVerbRoute(verb, { database, log }))];
}

function createVerbRoute(verb: TargetVerb, options: { database: Database; log: Log }): Route {
  const operatedSchema = z.object({
    target: z.string(),
    verb: z.enum(TARGET_VERBS),
    state: z.enum(TARGET_STATES),
    accounts: z.int().openapi({ description: "How many accounts wait for it." }),
  });
  return {
    spec: {
      method: "post",
      path: `/v1/targets/{name}/${verb}`,
      operationId: `${verb}Target`,
      summary: SUMMARIES[verb],
      tags: ["Targets"],
      request: {
        params: z.object({ name: z.string() }),
        body: { content: { "application/json": { schema: SCHEMAS[verb] } } },
      },
      responses: {
        200: { description: "Carried out.", content: { "application/json": { schema: operatedSchema } } },
      },
    },
    codes: [...OPERATING_CODES, ...(verb === "close" ? (["target_not_open"] as const) : [])],
    access: "operate",
    handle: (c) => postTarget(c, verb, options),
  };
}

async function postTarget(
  c: ApiContext,
  verb: TargetVerb,
  { database, log }: { database: Database; log: Log },
): Promise<Response> {
  refuseOtherSites(c);
  requireAllAccounts(c, ONLY_SOME);
  const target = c.req.param("name") ?? "";
  if (target.length > TARGET_NAME_MAX) {
    throw new InturnError("operation_invalid", `A target has a name of 1 to ${TARGET_NAME_MAX} characters.`);
  }
  const asked = checkOperation(verb, SCHEMAS[verb], await readOptionalJson(c));
  const who = operatorName(c.get("caller"), asked.who);
  const operated = await operateTarget(database, { verb, target, ...asked, who });
  log.info({ verb, target, who }, "an operator's verb was carried out");
  return c.json({ target, verb, ...operated });
}

function toAnswer(status: TargetStatus): object {
  const { awaySeconds: _away, nextProbeSeconds: _next, awaySince, nextProbeAt, ...rest } = status;
  return { ...rest, awaySince: toRfc3339(awaySince), nextProbeAt: toRfc3339(nextProbeAt) };
}
