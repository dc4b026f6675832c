import { LEASE_TIMES } from "../domain/lease-times.ts";
import type { Database } from "./pool.ts";
import { LIFE_LOCK_CLASS } from "./workers.ts";

/** What one reconciliation recovered. */
export interface Reconciled {
  /** Workers that are gone: their lock had ended with their process, or their lease had run out. */
  readonly workersGone: number;
  /** Accounts taken from workers that are gone. */
  readonly takenOver: number;
  /** Parked accounts whose time was up: their head is a dead letter now. */
  readonly unparked: number;
}

/** The most accounts one pass takes over, and unparks: it holds their rows until it commits. */
export const RECONCILE_ACCOUNTS_MAX = 1_000;

/** One process reconciles at a time; the others skip their turn. The number is arbitrary and only ours. */
const RECONCILER_LOCK = 4_917_238_001;

/** Part of every statement of recovery: whether no other process runs one now. */
export const GATE: string = `gate as materialized (select pg_try_advisory_xact_lock(${RECONCILER_LOCK}) as mine)`;

const TAKE_OVER = {
  name: "inturn_take_over",
  text: `
    with ${GATE}
    select t.workers_gone as "workersGone", t.taken_over as "takenOver"
    from gate as g
    cross join lateral inturn.take_over(${RECONCILE_ACCOUNTS_MAX}, ${LIFE_LOCK_CLASS}, ${LEASE_TIMES.lifelessMs}, $1, $2) as t
    where g.mine`,
};

const UNPARK = {
  name: "inturn_unpark",
  text: `
    with ${GATE}, expired as materialized (
      select a.id from inturn.accounts as a
      where (select g.mine from gate as g) and a.parked_until < now() and a.paused_at is null
      order by a.parked_until limit ${RECONCILE_ACCOUNTS_MAX}
    ), parked as materialized (
      select a.id, a.processed_seq + 1 as seq, a.head_attempts, a.head_error,
        case when a.last_seq = a.processed_seq + 1 then 'idle' else 'scheduled' end as next_state
      from inturn.accounts as a
      where a.id = any (array(select x.id from expired as x)) and a.parked_until < now() and a.paused_at is null
      order by a.id
      for update skip locked
    ), freed as (
      update inturn.accounts as a
      set processed_seq = p.seq, dead = a.dead + 1, state = p.next_state, state_since = clock_timestamp(), parked_until = null,
        head_attempts = 0, attempts_forgiven = 0, head_error = null, head_target = null, head_outages = 0, snoozed_since = null
      from parked as p where a.id = p.id
      returning a.id, a.epoch, p.seq, inturn.waits(a.state, a.paused_at) as waits, p.head_attempts, p.head_error
    ), marked as (
      update inturn.events as e
      set outcome = 'dead', processed_at = clock_timestamp(), attempts = f.head_attempts, error = f.head_error
      from freed as f where e.account_id = f.id and e.seq = f.seq
    ), woken as materialized (
      select inturn.wake(array_agg(f.id), array_agg(f.epoch)) from freed as f where f.waits having count(*) > 0
    )
    select count(*)::integer as count from freed left join woken on true`,
};

/** What a pass of the reconciler looks for. */
export interface ReconcileOptions {
  /**
   * Whether workers that seem gone are deleted. A worker that was cut off itself a moment ago must not do that: the others
   * may be reconnecting too.
   */
  readonly judges: boolean;
  /** Whether orphaned accounts are looked for although no worker was found gone just now; true unless told. */
  readonly sweeps?: boolean;
}

/**
 * One pass of the reconciler, which any process may run: it takes the accounts of workers that are gone over, and sets parked
 * events aside when their time is up. Its cost does not grow with the backlog.
 *
 * Each statement is a transaction: a process that is stopped meanwhile cannot leave one open. While another process
 * reconciles, nothing is done.
 */
export async function reconcileOnce(database: Database, options: ReconcileOptions): Promise<Reconciled> {
  const { judges, sweeps = true } = options;
  const taken = await database.query<Omit<Reconciled, "unparked">>({ ...TAKE_OVER, values: [judges, sweeps] });
  const unparked = await database.query<{ count: number }>({ ...UNPARK, values: [] });
  return { ...(taken.rows[0] ?? { workersGone: 0, takenOver: 0 }), unparked: unparked.rows[0]?.count ?? 0 };
}
