/**
 * Reading what happened, from the public views alone.
 */
import { count, eq, type InferSelectViewModel, inArray } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import type { Database } from "./pool.ts";
import { accountResults, orderViolations, runSummary } from "./views.ts";

/** One account, as the view shows it. Times are PostgreSQL's text, in the session's zone. */
export type AccountResult = InferSelectViewModel<typeof accountResults>;
/** One breach of the promise. */
export type OrderViolation = InferSelectViewModel<typeof orderViolations>;
/** The whole history in one row. */
export type RunSummary = InferSelectViewModel<typeof runSummary>;

/** One account, or undefined when it never had an event. */
export async function findAccount(database: Database, accountId: string): Promise<AccountResult | undefined> {
  const rows = await drizzle(database).select().from(accountResults).where(eq(accountResults.accountId, accountId));
  return rows[0];
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
