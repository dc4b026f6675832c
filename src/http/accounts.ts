/**
 * Reading accounts.
 */
import { z } from "@hono/zod-openapi";
import { listAccounts } from "../db/accounts.ts";
import type { Database } from "../db/pool.ts";
import { type AccountResult, findAccount } from "../db/results.ts";
import { ACCOUNT_STATES } from "../domain/account.ts";
import { ID_LENGTH_MAX } from "../domain/event.ts";
import { accountNotFound, requireReach } from "./access.ts";
import { checkQuery, cursorAccountSchema, limitSchema, readCursor, toRfc3339, writeCursor } from "./query.ts";
import type { ApiContext, Route } from "./route.ts";

const STATES = [...ACCOUNT_STATES, "paused"] as const;

const SORTS = ["id", "pending"] as const;

const querySchema = z.strictObject({
  state: z
    .string()
    .transform((states) => states.split(","))
    .pipe(z.array(z.enum(STATES)))
    .optional()
    .openapi({
      type: "string",
      description: `Any of these, separated by commas: ${STATES.join(", ")}.`,
      example: "blocked",
    }),
  search: z.string().max(ID_LENGTH_MAX).default("").openapi({ description: "What the ids begin with." }),
  sort: z.enum(SORTS).default("id").openapi({
    description: "By id, or with the most pending events first; then only accounts that have any are listed.",
  }),
  cursor: z.string().max(2_000).optional().openapi({ description: "The `next` of the page before." }),
  limit: limitSchema,
});

const timeSchema = z.string().nullable().openapi({ format: "date-time" });

/** An account, as answers show it. */
const accountSchema = z
  .object({
    accountId: z.string(),
    state: z.enum(STATES),
    events: z.int().openapi({ description: "How many events it ever got; the seq of the last one." }),
    processed: z.int(),
    pending: z.int().openapi({ description: "Events that are not settled yet." }),
    dead: z.int().openapi({ description: "Events that were set aside." }),
    headSeq: z.int().nullable().openapi({ description: "The first event that is not settled." }),
    headAttempts: z.int().nullable(),
    headError: z.string().nullable(),
    firstReceivedAt: timeSchema,
    lastProcessedAt: timeSchema,
    oldestPendingSeconds: z.number().nullable(),
    blockedSince: timeSchema,
    waitsFor: z.string().nullable().openapi({ description: "The target that it waits for, which is away." }),
  })
  .openapi("Account");

const pageSchema = z.object({
  accounts: z.array(accountSchema),
  next: z.string().nullable().openapi({ description: "The `cursor` of the next page; null on the last one." }),
});

/** Reading accounts. */
export function createAccountRoutes(database: Database): Route[] {
  const answer = (schema: z.ZodType) => ({ description: "Found.", content: { "application/json": { schema } } });
  return [
    {
      spec: {
        method: "get",
        path: "/v1/accounts",
        operationId: "listAccounts",
        summary: "Accounts, page by page",
        tags: ["Accounts"],
        request: { query: querySchema },
        responses: {
          200: answer(pageSchema),
        },
      },
      codes: ["database_unavailable", "database_not_migrated"],
      access: "read",
      handle: (c) => getAccounts(c, database),
    },
    {
      spec: {
        method: "get",
        path: "/v1/accounts/{id}",
        operationId: "getAccount",
        summary: "One account",
        tags: ["Accounts"],
        request: { params: z.object({ id: z.string() }) },
        responses: {
          200: answer(accountSchema),
        },
      },
      codes: ["account_not_found", "database_unavailable", "database_not_migrated"],
      access: "read",
      handle: async (c) => {
        checkQuery(c, z.strictObject({}));
        return c.json(toAnswer(await requireAccount(c, database)));
      },
    },
  ];
}

async function getAccounts(c: ApiContext, database: Database): Promise<Response> {
  const { state: states = [], search, sort, cursor, limit } = checkQuery(c, querySchema);
  const after = cursor === undefined ? null : readCursor(cursor, cursorSchemaOf(sort), "listing");
  const prefixes = [c.get("caller").accountPrefix, search].filter((prefix) => prefix !== "");
  const accounts = await listAccounts(database, { states, prefixes, sort, after, limit });
  const last = accounts.length < limit ? undefined : accounts.at(-1);
  return c.json({
    accounts: accounts.map(toAnswer),
    next: last === undefined ? null : writeCursor(positionOf(last, sort)),
  });
}

/** The account of the path. @throws InturnError `account_not_found` */
export async function requireAccount(c: ApiContext, database: Database): Promise<AccountResult> {
  const accountId = c.req.param("id") ?? "";
  requireReach(c, accountId);
  const account = accountId.length > ID_LENGTH_MAX ? undefined : await findAccount(database, accountId);
  if (account === undefined) throw accountNotFound(accountId);
  return account;
}

function toAnswer(account: AccountResult): AccountResult {
  const { firstReceivedAt, lastProcessedAt, blockedSince } = account;
  return {
    ...account,
    firstReceivedAt: toRfc3339(firstReceivedAt),
    lastProcessedAt: toRfc3339(lastProcessedAt),
    blockedSince: toRfc3339(blockedSince),
  };
}

const cursorSchemaOf = (sort: (typeof SORTS)[number]) =>
  z.strictObject({ sort: z.literal(sort), accountId: cursorAccountSchema, pending: z.int().min(0) });

function positionOf({ accountId, pending }: AccountResult, sort: (typeof SORTS)[number]): object {
  return { sort, accountId, pending };
}
