/**
 * Reading what happened, from the public views alone.
 */
import type { InferSelectViewModel } from "drizzle-orm";
import type { Database } from "./pool.ts";
import type { accountResults, orderViolations, runSummary } from "./views.ts";

/** One account, as the view shows it. Times are PostgreSQL's text, in the session's zone. */
export type AccountResult = InferSelectViewModel<typeof accountResults>;
/** One breach of the promise. */
export type OrderViolation = InferSelectViewModel<typeof orderViolations>;
/** The whole history in one row. */
export type RunSummary = InferSelectViewModel<typeof runSummary>;

/** The columns of `inturn.account_results as r`, as {@link AccountResult} has them. */
export const ACCOUNT_COLUMNS = `
  r.account_id as "accountId", r.state, r.events, r.processed, r.pending, r.dead, r.head_seq as "headSeq",
  r.head_attempts as "headAttempts", r.head_error as "headError", r.first_received_at::text as "firstReceivedAt",
  r.last_processed_at::text as "lastProcessedAt", r.oldest_pending_seconds as "oldestPendingSeconds",
  r.blocked_since::text as "blockedSince", r.waits_for as "waitsFor"`;

/** One account, or undefined when it never had an event. */
export async function findAccount(database: Database, accountId: string): Promise<AccountResult | undefined> {
  const text = `select ${ACCOUNT_COLUMNS} from inturn.account_results as r where r.account_id = $1`;
  return (await database.query<AccountResult>(text, [accountId])).rows[0];
}

/** The breaches of the promise, each kind first to last, at most `limit`. */
export async function listOrderViolations(database: Database, limit: number): Promise<OrderViolation[]> {
  const text = `
    select v.account_id as "accountId", v.seq, v.kind, v.detail from inturn.order_violations as v
    order by v.kind, v.account_id, v.seq limit $1`;
  return (await database.query<OrderViolation>(text, [limit])).rows;
}

/** Which of these accounts have a breach. */
export async function findAccountsInDisorder(database: Database, accountIds: readonly string[]): Promise<Set<string>> {
  const { rows } = await database.query<{ id: string }>(
    "select distinct v.account_id as id from inturn.order_violations as v where v.account_id = any ($1::text[])",
    [accountIds],
  );
  return new Set(rows.map(({ id }) => id));
}

/** How many breaches there are of each kind. */
export async function countOrderViolations(database: Database): Promise<Map<OrderViolation["kind"], number>> {
  const { rows } = await database.query<{ kind: OrderViolation["kind"]; count: number }>(
    "select v.kind, count(*) from inturn.order_violations as v group by v.kind",
  );
  return new Map(rows.map(({ kind, count }) => [kind, count]));
}

/** The whole history in one row. */
export async function readRunSummary(database: Database): Promise<RunSummary> {
  const { rows } = await database.query<RunSummary>(`
    select s.events, s.accounts, s.processed, s.first_received_at::text as "firstReceivedAt",
      s.last_processed_at::text as "lastProcessedAt", s.makespan_seconds as "makespanSeconds",
      s.ideal_seconds as "idealSeconds", s.efficiency
    from inturn.run_summary as s`);
  if (rows[0] === undefined) throw new Error("inturn.run_summary has no row");
  return rows[0];
}

/** How many events there are: counted up to a number, and from there on as many as the planner believes. */
export async function readSize(
  database: Database,
  countedMax: number,
): Promise<{ events: number; isCounted: boolean }> {
  const { rows } = await database.query<{ counted: number; believed: number }>(
    `select (select count(*) from (select from inturn.events limit $1::bigint + 1) as e) as counted,
       (select greatest(reltuples, 0)::bigint from pg_class where oid = 'inturn.events'::regclass) as believed`,
    [countedMax],
  );
  const { counted = 0, believed = 0 } = rows[0] ?? {};
  return counted <= countedMax
    ? { events: counted, isCounted: true }
    : { events: Math.max(counted, believed), isCounted: false };
}

/** For how many seconds events kept coming in, from the first to the last; null when there is none. */
export async function readReceivingSeconds(database: Database): Promise<number | null> {
  const { rows } = await database.query<{ seconds: number | null }>(
    "select extract(epoch from max(e.received_at) - min(e.received_at))::double precision as seconds from inturn.events as e",
  );
  return rows[0]?.seconds ?? null;
}
