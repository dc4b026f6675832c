import type { Database } from "./pool.ts";

/** What one reconciliation put right. */
export interface Reconciled {
  /** Workers whose lease had run out. */
  readonly workersExpired: number;
  /** Accounts taken from workers that are gone. */
  readonly takenOver: number;
  /** Accounts that should have had a wake-up and had none. */
  readonly woken: number;
}

/** The most accounts one pass takes over, and wakes: it holds their rows until it commits. */
const RECONCILE_ACCOUNTS_MAX = 1_000;

/** A job that a worker process fetched this long ago and that led to no claim was lost with that process. */
const FETCHED_JOB_SECONDS_MAX = 5;

/** One process reconciles at a time; the others skip their turn. The number is arbitrary and only ours. */
const RECONCILER_LOCK = 4_917_238_001;

const TAKE_OVER = `
  with orphan as materialized (
    select a.id from inturn.accounts as a
    where a.state = 'running' and not exists (select from inturn.workers as w where w.id = a.lease_worker)
    order by a.id limit ${RECONCILE_ACCOUNTS_MAX}
    for update skip locked
  ), freed as (
    update inturn.accounts as a set state = 'scheduled', state_since = clock_timestamp(), lease_worker = null
    from orphan as o where a.id = o.id
    returning a.id, a.epoch
  ), woken as materialized (
    select inturn.wake(array_agg(f.id), array_agg(f.epoch)) from freed as f having count(*) > 0
  )
  select count(*)::integer as accounts from freed left join woken on true`;

/**
 * Level-triggered: it looks at what is, not at what happened. An account that is due and has no job on its way gets one,
 * whatever became of the first. Its row is locked while it is judged, so that no claim is half-way.
 */
const WAKE_FORGOTTEN = `
  with due as materialized (
    select a.id, a.epoch from inturn.accounts as a
    where (a.state = 'scheduled' and a.state_since < clock_timestamp() - interval '1 second'
        or a.state = 'retrying' and a.next_attempt_at < clock_timestamp() - interval '1 second')
      and not exists (
        select from graphile_worker.jobs as j
        where j.key = a.id || '#' || a.epoch
          and (j.locked_at is null and j.attempts < j.max_attempts
            or j.locked_at > clock_timestamp() - interval '${FETCHED_JOB_SECONDS_MAX} seconds')
      )
    order by a.id limit ${RECONCILE_ACCOUNTS_MAX}
    for update skip locked
  ), woken as materialized (
    select inturn.wake(array_agg(d.id), array_agg(d.epoch)) as jobs from due as d having count(*) > 0
  )
  select coalesce((select w.jobs from woken as w), 0)::integer as accounts`;

/**
 * One pass of the reconciler, which any process may run: it takes the accounts of dead workers over, and wakes every
 * account that is due and has no wake-up. By itself it heals a lost job, a deleted job, and a crash between any two steps.
 *
 * @returns what it put right, or null when another process was at it
 */
export async function reconcileOnce(database: Database): Promise<Reconciled | null> {
  const client = await database.connect();
  let open = true;
  let broken: unknown;
  try {
    // A process that is stopped in the middle must not keep the others from reconciling for longer than this.
    await client.query("begin; set local idle_in_transaction_session_timeout = '1s'");
    const { rows } = await client.query<{ mine: boolean }>("select pg_try_advisory_xact_lock($1) as mine", [
      RECONCILER_LOCK,
    ]);
    if (rows[0]?.mine !== true) return null;
    const expired = await client.query("delete from inturn.workers where lease_expires_at < clock_timestamp()");
    const takenOver = await client.query<{ accounts: number }>(TAKE_OVER);
    const woken = await client.query<{ accounts: number }>(WAKE_FORGOTTEN);
    await client.query("commit");
    open = false;
    return {
      workersExpired: expired.rowCount ?? 0,
      takenOver: takenOver.rows[0]?.accounts ?? 0,
      woken: woken.rows[0]?.accounts ?? 0,
    };
  } catch (error) {
    broken = error;
    throw error;
  } finally {
    // Whatever ended the pass early, this connection must not carry an open transaction back into the pool.
    if (open && broken === undefined) await client.query("rollback").catch((error: unknown) => (broken = error));
    client.release(broken !== undefined);
  }
}
