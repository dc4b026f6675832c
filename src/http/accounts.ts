import { z } from "@hono/zod-openapi";
import type { Database } from "../db/pool.ts";
import { findAccount, listAccounts, listEvents, PAGE_ROWS_MAX } from "../db/results.ts";
import { ACCOUNT_ID_LENGTH_MAX } from "../domain/event.ts";
import { InturnError } from "../errors/error.ts";
import { accountNotFound, requireReach } from "./access.ts";
import { problemResponses } from "./problem.ts";
import type { ApiContext, Route } from "./route.ts";

const limitSchema = z
  .string()
  .regex(/^\d{1,9}$/, "must be a whole number")
  .transform(Number)
  .pipe(z.number().min(1).max(PAGE_ROWS_MAX));

const accountsQuerySchema = z.strictObject({
  after: z.string().max(ACCOUNT_ID_LENGTH_MAX).default(""),
  limit: limitSchema.default(100),
});

const eventsQuerySchema = z.strictObject({
  after: z
    .string()
    .regex(/^\d{1,15}$/, "must be a seq")
    .transform(Number)
    .default(0),
  limit: limitSchema.default(100),
});

const accountParamsSchema = z.object({ id: z.string() });

/** Reading accounts and their events. */
export function createAccountRoutes(database: Database): Route[] {
  const ok = { description: "Found.", content: { "application/json": { schema: z.looseObject({}) } } };
  return [
    {
      spec: {
        method: "get",
        path: "/v1/accounts",
        operationId: "listAccounts",
        summary: "Accounts, page by page",
        tags: ["Accounts"],
        request: { query: accountsQuerySchema },
        responses: { 200: ok, ...problemResponses("database_unavailable") },
      },
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
        request: { params: accountParamsSchema },
        responses: { 200: ok, ...problemResponses("account_not_found", "database_unavailable") },
      },
      access: "read",
      handle: async (c) => c.json(await requireAccount(c, database)),
    },
    {
      spec: {
        method: "get",
        path: "/v1/accounts/{id}/events",
        operationId: "listEvents",
        summary: "An account's events in seq order, page by page",
        tags: ["Accounts"],
        request: { params: accountParamsSchema, query: eventsQuerySchema },
        responses: { 200: ok, ...problemResponses("account_not_found", "database_unavailable") },
      },
      access: "read",
      handle: (c) => getAccountEvents(c, database),
    },
  ];
}

/** `GET /v1/accounts?after=&limit=`: accounts in id order; `next` is the `after` of the next page, null on the last. */
async function getAccounts(c: ApiContext, database: Database): Promise<Response> {
  const { after, limit } = checkQuery(c, accountsQuerySchema);
  const accounts = await listAccounts(database, { after, limit });
  return c.json({ accounts, next: accounts.length < limit ? null : accounts.at(-1)?.accountId });
}

/** `GET /v1/accounts/{id}/events?after=&limit=`: events in seq order; `next` is the `after` of the next page, null on the last. */
async function getAccountEvents(c: ApiContext, database: Database): Promise<Response> {
  const { after, limit } = checkQuery(c, eventsQuerySchema);
  const { accountId } = await requireAccount(c, database);
  const events = await listEvents(database, { accountId, afterSeq: after, limit });
  const next = events.length < limit ? null : (events.at(-1)?.seq ?? null);
  // The data goes out as the text that it was stored as: parsing it here could change a number.
  const rows = events.map(({ data, ...event }) => `{${JSON.stringify(event).slice(1, -1)},"data":${data}}`);
  c.header("Content-Type", "application/json");
  return c.body(`{"events":[${rows.join(",")}],"next":${next}}`);
}

async function requireAccount(c: ApiContext, database: Database) {
  const accountId = c.req.param("id") ?? "";
  requireReach(c, accountId);
  const account = accountId.length > ACCOUNT_ID_LENGTH_MAX ? undefined : await findAccount(database, accountId);
  if (account !== undefined) return account;
  throw accountNotFound(accountId);
}

function checkQuery<Schema extends z.ZodType>(c: ApiContext, schema: Schema): z.output<Schema> {
  const checked = schema.safeParse(c.req.query());
  if (checked.success) return checked.data;
  const faults = checked.error.issues.map((issue) => ({
    where: issue.path.join(".") || "query",
    message: issue.message,
  }));
  throw new InturnError("query_invalid", "The query cannot be used.", { faults });
}
