/**
 * Operations: a verb for many accounts. A worker carries it out; this begins it, says how far it is, and cancels it.
 */
import { z } from "@hono/zod-openapi";
import {
  beginOperation,
  cancelOperation,
  listBulkOperations,
  type OperationStatus,
  requireOperation,
} from "../db/bulk-operations.ts";
import type { Database } from "../db/pool.ts";
import { SHOWN_STATES } from "../db/urgent-accounts.ts";
import { ID_LENGTH_MAX } from "../domain/event.ts";
import { BULK_VERBS, OPERATION_ACCOUNTS_MAX, OPERATION_RATE_MAX } from "../domain/operation.ts";
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

/** How many operations the listing holds: the last ones. */
const LISTED_MAX = 100;

const TEXT_MAX = 2_000;

const ONLY_SOME = "Operations of others concern accounts that this key does not reach.";

const whereSchema = z
  .strictObject({
    states: z
      .array(z.enum(SHOWN_STATES as [string, ...string[]]))
      .min(1)
      .optional(),
    prefix: z.string().min(1).max(ID_LENGTH_MAX).optional().openapi({ description: "What the ids begin with." }),
    type: z
      .string()
      .min(1)
      .max(TEXT_MAX)
      .optional()
      .openapi({ description: "Of the head; with `*` at its end, what it begins with." }),
    error: z
      .string()
      .min(1)
      .max(TEXT_MAX)
      .optional()
      .openapi({ description: "A part of the error, in capitals or not." }),
    blockedBefore: z.iso
      .datetime({ offset: true })
      .optional()
      .openapi({ description: "Only those in their state since before this time." }),
    settledSince: z.iso
      .datetime({ offset: true })
      .optional()
      .openapi({ description: "`replay`: from the first event on that was settled then or later." }),
    limit: z.int().min(1).max(OPERATION_ACCOUNTS_MAX).optional(),
  })
  .openapi("OperationFilter");

const beginSchema = reasonSchema.extend({
  verb: z.enum(BULK_VERBS),
  where: whereSchema,
  rate: z.int().min(1).max(OPERATION_RATE_MAX).optional().openapi({ description: "Accounts a second at most." }),
  force: z.boolean().optional().openapi({ description: "`redrive`: append a copy if later events were started." }),
  dryRun: z.boolean().optional().openapi({ description: "Only count what matches." }),
});

const begunSchema = z.object({ id: z.int().nullable(), matched: z.int() });

const timeSchema = z.string().nullable().openapi({ format: "date-time" });

const statusSchema = z
  .object({
    id: z.int(),
    verb: z.enum(BULK_VERBS),
    where: whereSchema,
    state: z.enum(["running", "done", "cancelled"]),
    matched: z.int(),
    tried: z.int(),
    done: z.int(),
    leftOut: z.record(z.string(), z.int()).nullable().openapi({ description: "How many were not changed, by code." }),
    rate: z.int().nullable(),
    who: z.string(),
    why: z.string().nullable(),
    createdAt: timeSchema,
    endedAt: timeSchema,
  })
  .openapi("Operation");

const READING_CODES = ["database_unavailable", "database_not_migrated"] as const;

/** Beginning, watching and cancelling operations. */
export function createBulkOperationRoutes(database: Database, log: Log): Route[] {
  const tags = ["Operations"];
  const params = z.object({ id: z.string() });
  return [
    {
      spec: {
        method: "post",
        path: "/v1/operations",
        operationId: "beginOperation",
        summary: "Carry out a verb on all accounts that match",
        tags,
        request: { body: { content: { "application/json": { schema: beginSchema } } } },
        responses: { 200: jsonAnswer("A dry run.", begunSchema), 202: jsonAnswer("Begun.", begunSchema) },
      },
      codes: [...OPERATING_CODES, "operation_too_large"],
      access: "operate",
      handle: (c) => postOperation(c, { database, log }),
    },
    {
      spec: {
        method: "get",
        path: "/v1/operations",
        operationId: "listOperations",
        summary: "The last operations on many accounts",
        tags,
        responses: { 200: jsonAnswer("Found.", z.object({ operations: z.array(statusSchema) })) },
      },
      codes: READING_CODES,
      access: "read",
      handle: async (c) => {
        checkQuery(c, z.strictObject({}));
        requireAllAccounts(c, ONLY_SOME);
        return c.json({ operations: (await listBulkOperations(database, LISTED_MAX)).map(toAnswer) });
      },
    },
    {
      spec: {
        method: "get",
        path: "/v1/operations/{id}",
        operationId: "getOperation",
        summary: "How far an operation is",
        tags,
        request: { params },
        responses: { 200: jsonAnswer("Found.", statusSchema) },
      },
      codes: [...READING_CODES, "operation_not_found"],
      access: "read",
      handle: async (c) => {
        checkQuery(c, z.strictObject({}));
        requireAllAccounts(c, ONLY_SOME);
        return c.json(toAnswer(await requireOperation(database, c.req.param("id") ?? "")));
      },
    },
    {
      spec: {
        method: "post",
        path: "/v1/operations/{id}/cancel",
        operationId: "cancelOperation",
        summary: "End an operation; what is done stays",
        tags,
        request: { params, body: { content: { "application/json": { schema: reasonSchema } } } },
        responses: { 200: jsonAnswer("Cancelled.", statusSchema) },
      },
      codes: [...OPERATING_CODES, "operation_not_found", "operation_ended"],
      access: "operate",
      handle: (c) => postCancel(c, { database, log }),
    },
  ];
}

interface Parts {
  readonly database: Database;
  readonly log: Log;
}

/** A key that reaches only some accounts begins operations on those only. */
async function postOperation(c: ApiContext, { database, log }: Parts): Promise<Response> {
  refuseOtherSites(c);
  const { who: said, ...asked } = checkOperation("operation", beginSchema, await readOptionalJson(c));
  const { accountPrefix } = c.get("caller");
  if (!(asked.where.prefix ?? "").startsWith(accountPrefix)) {
    throw new InturnError(
      "scope_missing",
      `This key reaches accounts that begin with ${accountPrefix}: give such a prefix.`,
    );
  }
  const operation = { ...asked, where: asked.where as never, who: operatorName(c.get("caller"), said) };
  const begun = await beginOperation(database, operation);
  if (begun.id !== null) log.info({ ...begun, verb: asked.verb, who: operation.who }, "an operation was begun");
  return c.json(begun, begun.id === null ? 200 : 202);
}

async function postCancel(c: ApiContext, { database, log }: Parts): Promise<Response> {
  refuseOtherSites(c);
  requireAllAccounts(c, ONLY_SOME);
  const asked = checkOperation("cancel", reasonSchema, await readOptionalJson(c));
  const { id } = await requireOperation(database, c.req.param("id") ?? "");
  const who = operatorName(c.get("caller"), asked.who);
  if (!(await cancelOperation(database, { id, who, why: asked.why }))) {
    throw new InturnError("operation_ended", `Operation ${id} has ended already.`);
  }
  log.info({ id, who }, "an operation was cancelled");
  return c.json(toAnswer(await requireOperation(database, c.req.param("id") ?? "")));
}

function toAnswer(status: OperationStatus): OperationStatus {
  return { ...status, createdAt: toRfc3339(status.createdAt), endedAt: toRfc3339(status.endedAt) };
}
