/**
 * Reading what happened, from the public views alone.
 */
import { and, asc, count, eq, getViewSelectedFields, gt, type InferSelectViewModel, inArray, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import type { Database } from "./pool.ts";
import { accountResults, eventResults, orderViolations, runSummary } from "./views.ts";

/** One account, as the view shows it. Times are PostgreSQL's text, in the session's zone. */
export type AccountResult = InferSelectViewModel<typeof accountResults>;
/** One event, as the view shows it. */
export type EventResult = InferSelectViewModel<typeof eventResults>;
/** One breach of the promise. */
export type OrderViolation = InferSelectViewModel<typeof orderViolations>;
/** The whole history in one row. */
export type RunSummary = InferSelectViewModel<typeof runSummary>;

/** The most rows one page of a listing holds. */
export const PAGE_ROWS_MAX = 1_000;

/** The accounts after this id in byte order. */
export async function listAccounts(
  database: Database,
  page: { after: string; limit: number },
): Promise<AccountResult[]> {
  return await drizzle(database)
    .select()
    .from(accountResults)
    .where(gt(accountResults.accountId, page.after))
    .orderBy(asc(accountResults.accountId))
    .limit(page.limit);
}

/** One account, or undefined when it never had an event. */
export async function findAccount(database: Database, accountId: string): Promise<AccountResult | undefined> {
  const rows = await drizzle(database).select().from(accountResults).where(eq(accountResults.accountId, accountId));
  return rows[0];
}

/** The events of an account after this seq, in order. `data` is JSON text, as it was stored. */
export async function listEvents(
  database: Database,
  page: { accountId: string; afterSeq: number; limit: number },
): Promise<(Omit<EventResult, "data"> & { data: string })[]> {
  const { data: _parsed, ...columns } = getViewSelectedFields(eventResults);
  return await drizzle(database)
    .select({ ...columns, data: sql<string>`${eventResults.data}::text` })
    .from(eventResults)
    .where(and(eq(eventResults.accountId, page.accountId), gt(eventResults.seq, page.afterSeq)))
    .orderBy(asc(eventResults.seq))
    .limit(page.limit);
}

/** The breaches of the promise, each kind first to last, at most `limit`. */
export async function listOrderViolations(database: Database, limit: number): Promise<OrderViolation[]> {
  return await drizzle(database)
    .select()
    .from(orderViolations)
    .orderBy(orderViolations.kind, orderViolations.accountId, orderViolations.seq)
    .limit(limit);
}

/** Which of these accounts have a breach. */
export async function findAccountsInDisorder(database: Database, accountIds: readonly string[]): Promise<Set<string>> {
  if (accountIds.length === 0) return new Set();
  const rows = await drizzle(database)
    .selectDistinct({ accountId: orderViolations.accountId })
    .from(orderViolations)
    .where(inArray(orderViolations.accountId, [...accountIds]));
  return new Set(rows.map((row) => row.accountId));
}

/** How many breaches there are of each kind. */
export async function countOrderViolations(database: Database): Promise<Map<OrderViolation["kind"], number>> {
  const rows = await drizzle(database)
    .select({ kind: orderViolations.kind, count: count() })
    .from(orderViolations)
    .groupBy(orderViolations.kind);
  return new Map(rows.map((row) => [row.kind, row.count]));
}

/** The whole history in one row. */
export async function readRunSummary(database: Database): Promise<RunSummary> {
  const [summary] = await drizzle(database).select().from(runSummary);
  if (summary === undefined) throw new Error("inturn.run_summary has no row");
  return summary;
}
