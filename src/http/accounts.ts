import type { Context } from "hono";
import * as z from "zod";
import type { Database } from "../db/pool.ts";
import { findAccount, listAccounts, listEvents, PAGE_ROWS_MAX } from "../db/results.ts";
import { ACCOUNT_ID_LENGTH_MAX } from "../domain/event.ts";
import { InturnError } from "../errors/error.ts";

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

/** `GET /v1/accounts?after=&limit=`: accounts in id order; `next` is the `after` of the next page, null on the last. */
export async function getAccounts(c: Context, database: Database): Promise<Response> {
  const { after, limit } = checkQuery(c, accountsQuerySchema);
  const accounts = await listAccounts(database, { after, limit });
  return c.json({ accounts, next: accounts.length < limit ? null : accounts.at(-1)?.accountId });
}

/** `GET /v1/accounts/{id}` */
export async function getAccount(c: Context, database: Database): Promise<Response> {
  return c.json(await requireAccount(c, database));
}

/** `GET /v1/accounts/{id}/events?after=&limit=`: events in seq order; `next` is the `after` of the next page, null on the last. */
export async function getAccountEvents(c: Context, database: Database): Promise<Response> {
  const { after, limit } = checkQuery(c, eventsQuerySchema);
  const { accountId } = await requireAccount(c, database);
  const events = await listEvents(database, { accountId, afterSeq: after, limit });
  const next = events.length < limit ? null : (events.at(-1)?.seq ?? null);
  // The data goes out as the text that it was stored as: parsing it here could change a number.
  const rows = events.map(({ data, ...event }) => `{${JSON.stringify(event).slice(1, -1)},"data":${data}}`);
  c.header("Content-Type", "application/json");
  return c.body(`{"events":[${rows.join(",")}],"next":${next}}`);
}

async function requireAccount(c: Context, database: Database) {
  const accountId = c.req.param("id") ?? "";
  const account = accountId.length > ACCOUNT_ID_LENGTH_MAX ? undefined : await findAccount(database, accountId);
  if (account !== undefined) return account;
  throw new InturnError(
    "account_not_found",
    `There is no account ${JSON.stringify(accountId.slice(0, ACCOUNT_ID_LENGTH_MAX))}: it never had an event.`,
  );
}

function checkQuery<Schema extends z.ZodType>(c: Context, schema: Schema): z.output<Schema> {
  const checked = schema.safeParse(c.req.query());
  if (checked.success) return checked.data;
  const faults = checked.error.issues.map((issue) => ({
    where: issue.path.join(".") || "query",
    message: issue.message,
  }));
  throw new InturnError("query_invalid", "The query cannot be used.", { faults });
}
