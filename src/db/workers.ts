import type pg from "pg";
import { LEASE_TIMES } from "../domain/lease-times.ts";
import type { Database, Queryable } from "./pool.ts";

/** A worker process, as the others see it. */
export interface WorkerIdentity {
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  readonly concurrency: number;
}

/** What shows that a worker lives, and under which name graphile-worker locks its jobs. */
export interface WorkerTies {
  /** The key of the advisory lock that its sign of life holds; null before it had one. */
  readonly lifeKey: number | null;
  readonly graphilePool: string | null;
  /** Which list of pauses it goes by; null before it has read one. */
  readonly pausesVersion: number | null;
  /** Accounts in hand; null when it takes no more. */
  readonly inHand: number | null;
}

/** What a renewal tells of the others: hints that there is something to do, so that nobody asks in vain many times a second. */
export interface News {
  /** Whether another worker may be gone: whether it is, only a takeover finds out. */
  readonly othersSeemGone: boolean;
  /** Whether a target is not closed, or suspected. */
  readonly targetsNeedCare: boolean;
  /** Accounts of the worker that has the fewest, of the others that take some; null when there is none. */
  readonly leastInHand: number | null;
}

/** What a renewal was answered. */
export interface Renewed extends News {
  /** Whether the worker had to be entered: at a renewal it means that its lease had run out. */
  readonly entered: boolean;
  /** The version of the list of pauses. */
  readonly pausesVersion: number;
}

/** The class of the advisory locks that are signs of life; their second key is the worker's own. Arbitrary and only ours. */
export const LIFE_LOCK_CLASS = 4_917_238;

/** Renews the worker's lease, and with it the lease of every account it runs; the first renewal enters the worker. */
export async function renewWorkerLease(
  database: Queryable,
  worker: WorkerIdentity & WorkerTies,
  leaseMs: number,
): Promise<Renewed> {
  const { rows } = await database.query<Renewed>({
    name: "inturn_renew_worker_lease",
    text: `
      insert into inturn.workers as w (id, host, pid, concurrency, life_key, graphile_pool, pauses_version, in_hand, lease_expires_at)
      values ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp() + $9 * interval '1 millisecond')
      on conflict (id) do update set life_key = excluded.life_key, graphile_pool = excluded.graphile_pool,
        pauses_version = excluded.pauses_version, in_hand = excluded.in_hand, lease_expires_at = excluded.lease_expires_at, renewed_at = clock_timestamp()
      returning xmax = 0 as entered, coalesce((select l.version from inturn.pause_list as l), 0)::integer as "pausesVersion",
        exists (
          select from inturn.workers as o
          where o.id <> $1 and (o.lease_expires_at < clock_timestamp() or o.renewed_at < clock_timestamp() - ${LEASE_TIMES.lifelessMs} * interval '1 millisecond')
        ) as "othersSeemGone",
        exists (
          select from inturn.targets as t where t.state <> 'closed' or t.suspected_at > clock_timestamp() - interval '10 seconds'
        ) as "targetsNeedCare",
        (
          select min(o.in_hand) from inturn.workers as o
          where o.id <> $1 and o.renewed_at > clock_timestamp() - ${LEASE_TIMES.lifelessMs} * interval '1 millisecond'
        ) as "leastInHand"`,
    values: [
      worker.id,
      worker.host,
      worker.pid,
      worker.concurrency,
      worker.lifeKey,
      worker.graphilePool,
      worker.pausesVersion,
      worker.inHand,
      leaseMs,
    ],
    query_timeout: LEASE_TIMES.silentMs,
  } as pg.QueryConfig);
  return (
    rows[0] ?? { entered: true, pausesVersion: 0, othersSeemGone: false, targetsNeedCare: false, leastInHand: null }
  );
}

/** Takes the worker off the list. Accounts it still runs are taken over at the next reconciliation. */
export async function removeWorker(database: Database, workerId: string): Promise<void> {
  await database.query("delete from inturn.workers where id = $1", [workerId]);
}

/** A lease that the database says a worker holds. */
export interface HeldLease {
  readonly accountId: string;
  readonly epoch: number;
}

/** The leases that this worker has held for longer than `heldMs`. */
export async function listHeldLeases(database: Database, workerId: string, heldMs: number): Promise<HeldLease[]> {
  const { rows } = await database.query<HeldLease>({
    name: "inturn_list_held_leases",
    text: `
      select a.id as "accountId", a.epoch from inturn.accounts as a
      where a.state = 'running' and a.lease_worker = $1 and a.state_since < clock_timestamp() - $2 * interval '1 millisecond'`,
    values: [workerId, heldMs],
  });
  return rows;
}

/** A worker process, as the dashboard and `status` show it. */
export interface WorkerAtWork extends WorkerIdentity {
  /** Accounts that it has in hand. */
  readonly inHand: number;
  /** PostgreSQL's text, in the session's zone. */
  readonly startedAt: string;
  readonly renewedSecondsAgo: number;
  /** Below 0 when its lease has run out. */
  readonly leaseSecondsLeft: number;
}

/** The workers, oldest first, at most `limit`. */
export async function listWorkers(database: Database, limit: number): Promise<WorkerAtWork[]> {
  const { rows } = await database.query<WorkerAtWork>(
    `with load as (
       select a.lease_worker as id, count(*)::int as accounts from inturn.accounts as a
       where a.state = 'running' and a.state <> 'idle' group by a.lease_worker
     )
     select w.id, w.host, w.pid, w.concurrency, coalesce(l.accounts, 0) as "inHand", w.started_at::text as "startedAt",
       extract(epoch from clock_timestamp() - w.renewed_at)::double precision as "renewedSecondsAgo",
       extract(epoch from w.lease_expires_at - clock_timestamp())::double precision as "leaseSecondsLeft"
     from inturn.workers as w left join load as l using (id)
     order by w.started_at, w.id limit $1`,
    [limit],
  );
  return rows;
}
