/**
 * How the whole system is at a moment: totals from one reading of all accounts, and waits from what was settled last.
 */
import type { ShownState } from "../domain/account.ts";
import { SHOWN_STATE } from "./accounts.ts";
import { listPauses, type PauseStatus } from "./pauses.ts";
import type { Database } from "./pool.ts";
import { listTargetStatus, type TargetStatus } from "./target-status.ts";

/** The system at a moment of the database's clock. */
export interface Pulse {
  /** Milliseconds since 1970. */
  readonly atMs: number;
  /** Events ever received, and how many of them are settled. */
  readonly received: number;
  readonly settled: number;
  /** Events that wait or are being handled. */
  readonly backlog: number;
  /** Age of the oldest one; null when there is none. */
  readonly oldestPendingSeconds: number | null;
  /** How many accounts are in each state. */
  readonly accounts: Readonly<Record<ShownState, number>>;
  /** Received to handler started, of what was settled last; null when nothing was. */
  readonly waitMs: { readonly p50: number; readonly p95: number } | null;
  /** For how long some session has kept PostgreSQL from removing old versions of rows; 0 when none does that is visible to us. */
  readonly oldestSnapshotSeconds: number;
  /** Breaches of the promise among what was settled last: always 0. */
  readonly orderViolations: number;
  /** The targets that are away, or still waited for. */
  readonly targets: readonly TargetStatus[];
  /** What is paused as a whole. */
  readonly pauses: readonly PauseStatus[];
}

/** A snapshot that is kept for longer makes events cost several times as much (bench/README.md). */
export const OLD_SNAPSHOT_SECONDS = 60;

/** More targets are not named. */
const TARGETS_MAX = 100;

/** Of each state, this many accounts are looked at for the oldest event: those that have been in it for longest. */
const HEADS_MAX = 5_000;

/** What was settled last is looked for in this many accounts of each state, and this many of the events of each. */
const RECENT = { accountsMax: 200, eventsMax: 20, seconds: 10 };

/**
 * The totals read every account's row: 20 ms for 100,000 of them. A counter that each append and each settle writes would be
 * read faster, and make all of them wait for one row.
 */
const TOTALS = `
  select ${SHOWN_STATE} as state,
    count(*)::int as accounts, sum(a.last_seq)::bigint as received, sum(a.processed_seq)::bigint as settled
  from inturn.accounts as a group by 1`;

const OLDEST = `
  select extract(epoch from clock_timestamp() - min(e.received_at))::double precision as seconds
  from unnest(array['scheduled', 'running', 'retrying', 'blocked', 'waiting']) as s (state)
  cross join lateral (
    select a.id, a.processed_seq from inturn.accounts as a
    where a.state = s.state and a.state <> 'idle' order by a.state_since limit ${HEADS_MAX}
  ) as head
  join inturn.events as e on e.account_id = head.id and e.seq = head.processed_seq + 1`;

/**
 * A snapshot in use and a transaction that has written, of this database's sessions, and transactions that were prepared and
 * forgotten. Sessions of other roles are visible to members of `pg_read_all_stats` only.
 */
const OLDEST_SNAPSHOT = `
  select coalesce(extract(epoch from clock_timestamp() - least(
    (select min(a.xact_start) from pg_stat_activity as a
     where a.datname = current_database() and coalesce(a.backend_xmin, a.backend_xid) is not null
       and a.pid <> pg_backend_pid() and a.backend_type <> 'autovacuum worker'),
    (select min(p.prepared) from pg_prepared_xacts as p where p.database = current_database())
  )), 0)::double precision as seconds`;

const recentOf = (state: string) => `
  (select a.id, a.processed_seq from inturn.accounts as a
   where a.state = '${state}' order by a.state_since desc limit ${RECENT.accountsMax})`;

const RECENTLY_SETTLED = `
  with active as (${["running", "scheduled", "idle"].map(recentOf).join(" union all ")}
  ), settled as (
    select e.account_id, e.seq, e.received_at, e.started_at, e.processed_at,
      lag(e.seq) over step as previous_seq, lag(e.processed_at) over step as previous_processed_at
    from active as a
    cross join lateral (
      select * from inturn.events as e
      where e.account_id = a.id and e.seq <= a.processed_seq and e.seq > a.processed_seq - ${RECENT.eventsMax}
    ) as e
    where e.processed_at > clock_timestamp() - ${RECENT.seconds} * interval '1 second'
    window step as (partition by e.account_id order by e.seq)
  )
  select
    percentile_cont(array[0.5, 0.95]) within group (order by extract(epoch from s.started_at - s.received_at) * 1000)
      as "waitMs",
    count(*) filter (where s.seq = s.previous_seq + 1
      and (s.started_at < s.previous_processed_at or s.processed_at < s.previous_processed_at))::int as "orderViolations"
  from settled as s`;

/** Takes the pulse: one statement after the other, on one connection. */
export async function readPulse(database: Database): Promise<Pulse> {
  const client = await database.connect();
  try {
    const atMs = await client.query<{ atMs: number }>(
      `select (extract(epoch from clock_timestamp()) * 1000)::double precision as "atMs"`,
    );
    const totals = await client.query<{ state: ShownState; accounts: number; received: number; settled: number }>(
      TOTALS,
    );
    const oldest = await client.query<{ seconds: number | null }>(OLDEST);
    const recent = await client.query<{ waitMs: [number, number] | null; orderViolations: number }>(RECENTLY_SETTLED);
    const snapshot = await client.query<{ seconds: number }>(OLDEST_SNAPSHOT);
    const targets = await listTargetStatus(client, TARGETS_MAX);
    const pauses = await listPauses(client);
    client.release();
    const sum = (of: "received" | "settled") => totals.rows.reduce((total, row) => total + row[of], 0);
    const waitMs = recent.rows[0]?.waitMs ?? null;
    return {
      atMs: atMs.rows[0]?.atMs ?? 0,
      received: sum("received"),
      settled: sum("settled"),
      backlog: sum("received") - sum("settled"),
      oldestPendingSeconds: oldest.rows[0]?.seconds ?? null,
      oldestSnapshotSeconds: snapshot.rows[0]?.seconds ?? 0,
      accounts: { ...NONE, ...Object.fromEntries(totals.rows.map((row) => [row.state, row.accounts])) },
      waitMs: waitMs === null ? null : { p50: waitMs[0], p95: waitMs[1] },
      orderViolations: recent.rows[0]?.orderViolations ?? 0,
      targets,
      pauses,
    };
  } catch (error) {
    client.release(error as Error);
    throw error;
  }
}

const NONE: Record<ShownState, number> = {
  idle: 0,
  scheduled: 0,
  running: 0,
  retrying: 0,
  blocked: 0,
  waiting: 0,
  paused: 0,
};
