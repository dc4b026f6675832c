import type pg from "pg";
import type { Database } from "./pool.ts";
import { LIFE_LOCK_CLASS } from "./workers.ts";

/** What one reconciliation put right. */
export interface Reconciled {
  /** Workers that are gone: their lock had ended with their process, or their lease had run out. */
  readonly workersGone: number;
  /** Accounts taken from workers that are gone. */
  readonly takenOver: number;
  /** Parked accounts whose time was up: their head is a dead letter now. */
  readonly unparked: number;
}

/** The most accounts one pass takes over, unparks, and wakes: it holds their rows until it commits. */
export const RECONCILE_ACCOUNTS_MAX = 1_000;

/** Without its lock a worker is given this long to renew its lease: its connection alone may have broken. */
const LIFELESS_MS_MAX = 1_200;

/** A job that a live worker process fetched this long ago and that led to no claim was lost on its way. */
const FETCHED_JOB_SECONDS_MAX = 5;

/** One process reconciles at a time; the others skip their turn. The number is arbitrary and only ours. */
const RECONCILER_LOCK = 4_917_238_001;

const GATE = `gate as materialized (select pg_try_advisory_xact_lock(${RECONCILER_LOCK}) as mine)`;

/** What graphile-worker had locked for a dead process is free again at once: by itself it would wait for four hours. */
const BURY_WORKERS = `
  with ${GATE}, life as materialized (
    select l.objid::bigint as key from pg_locks as l
    where l.locktype = 'advisory' and l.classid = ${LIFE_LOCK_CLASS} and l.objsubid = 2 and l.granted
      and l.database = (select d.oid from pg_database as d where d.datname = current_database())
  ), gone as (
    delete from inturn.workers as w
    where (select g.mine from gate as g)
      and (w.lease_expires_at < clock_timestamp()
        or w.renewed_at < clock_timestamp() - interval '${LIFELESS_MS_MAX} ms'
          and w.life_key is not null and w.life_key not in (select l.key from life as l))
    returning w.graphile_pool
  ), unlocked as materialized (
    select graphile_worker.force_unlock_workers(array_agg(g.graphile_pool)) from gone as g having count(g.graphile_pool) > 0
  )
  select count(*)::integer as count from gone left join unlocked on true`;

/**
 * The first takeover is at once. A head whose workers die again and again may be what kills them: it waits longer each
 * time, and at another moment than its neighbours, so that they get through while it rests.
 */
const TAKE_OVER = `
  with ${GATE}, orphan as materialized (
    select a.id from inturn.accounts as a
    where (select g.mine from gate as g)
      and a.state = 'running' and not exists (select from inturn.workers as w where w.id = a.lease_worker)
    order by a.id limit ${RECONCILE_ACCOUNTS_MAX}
    for update skip locked
  ), freed as (
    update inturn.accounts as a
    set state = case when a.processed_seq = a.last_seq then 'idle' when a.head_attempts > 1 then 'retrying' else 'scheduled' end,
      next_attempt_at = case when a.processed_seq < a.last_seq and a.head_attempts > 1
        then clock_timestamp() + interval '1 second' * power(2, least(a.head_attempts - 2, 6)) * (0.5 + random() / 2) end,
      head_attempts = case when a.processed_seq < a.last_seq then a.head_attempts else 0 end,
      head_error = case when a.processed_seq < a.last_seq then 'the worker that handled it is gone' end,
      state_since = clock_timestamp(), lease_worker = null
    from orphan as o where a.id = o.id
    returning a.id, a.epoch, a.next_attempt_at, a.paused_at, a.state
  ), woken as materialized (
    select inturn.wake(array_agg(f.id), array_agg(f.epoch), array_agg(f.next_attempt_at))
    from freed as f where f.state <> 'idle' and f.paused_at is null having count(*) > 0
  )
  select count(*)::integer as count from freed left join woken on true`;

const UNPARK = `
  with ${GATE}, parked as materialized (
    select a.id, a.processed_seq + 1 as seq, a.head_attempts, a.head_error,
      case when a.last_seq = a.processed_seq + 1 then 'idle' else 'scheduled' end as next_state
    from inturn.accounts as a
    where (select g.mine from gate as g) and a.state = 'blocked' and a.parked_until < clock_timestamp() and a.paused_at is null
    order by a.id limit ${RECONCILE_ACCOUNTS_MAX}
    for update skip locked
  ), freed as (
    update inturn.accounts as a
    set processed_seq = p.seq, dead = a.dead + 1, state = p.next_state, state_since = clock_timestamp(), parked_until = null,
      head_attempts = 0, attempts_forgiven = 0, head_error = null
    from parked as p where a.id = p.id
    returning a.id, a.epoch, p.seq, p.next_state, p.head_attempts, p.head_error
  ), marked as (
    update inturn.events as e
    set outcome = 'dead', processed_at = clock_timestamp(), attempts = f.head_attempts, error = f.head_error
    from freed as f where e.account_id = f.id and e.seq = f.seq
  ), woken as materialized (
    select inturn.wake(array_agg(f.id), array_agg(f.epoch)) from freed as f where f.next_state = 'scheduled' having count(*) > 0
  )
  select count(*)::integer as count from freed left join woken on true`;

/**
 * Level-triggered: it looks at what is, not at what happened. An account that is due and has no job on its way gets one,
 * whatever became of the first. Its row is locked while it is judged, so that no claim is half-way.
 */
const WAKE_FORGOTTEN = `
  with ${GATE}, due as materialized (
    select a.id, a.epoch from inturn.accounts as a
    where (select g.mine from gate as g) and a.paused_at is null
      and (a.state = 'scheduled' and a.state_since < clock_timestamp() - interval '1 second'
        or a.state = 'retrying' and a.next_attempt_at < clock_timestamp() - interval '1 second')
      and not exists (
        select from graphile_worker.jobs as j
        where j.key = a.id || '#' || a.epoch
          and (j.locked_at is null and j.attempts < j.max_attempts
            or j.locked_at > clock_timestamp() - interval '${FETCHED_JOB_SECONDS_MAX} seconds'
              and exists (select from inturn.workers as w where coalesce(w.graphile_pool, j.locked_by) = j.locked_by))
      )
    order by a.id limit ${RECONCILE_ACCOUNTS_MAX}
    for update skip locked
  ), woken as materialized (
    select inturn.wake(array_agg(d.id), array_agg(d.epoch)) as jobs from due as d having count(*) > 0
  )
  select coalesce((select w.jobs from woken as w), 0)::integer as count`;

/**
 * One pass of the reconciler, which any process may run: it takes the accounts of dead workers over, and sets parked
 * events aside when their time is up. Its cost does not grow with the backlog.
 *
 * One message, one transaction: a process that is stopped meanwhile cannot leave it open. While another process
 * reconciles, nothing is done.
 *
 * @param options.buries whether workers that seem dead are taken off the list. Who has just come back from being cut off
 *   itself must not judge: the others may be on their way back too.
 */
export async function reconcileOnce(database: Database, options: { buries: boolean }): Promise<Reconciled> {
  const counts = await queryAll(database, options.buries ? [BURY_WORKERS, TAKE_OVER, UNPARK] : [TAKE_OVER, UNPARK]);
  if (!options.buries) counts.unshift(0);
  const [workersGone = 0, takenOver = 0, unparked = 0] = counts;
  return { workersGone, takenOver, unparked };
}

/**
 * Wakes every account that is due and has no wake-up on its way, up to {@link RECONCILE_ACCOUNTS_MAX}; returns how many. By
 * itself it heals a lost job, a deleted job, and a crash between any two steps. It looks at every account that waits.
 */
export async function wakeForgotten(database: Database): Promise<number> {
  const { rows } = await database.query<{ count: number }>(WAKE_FORGOTTEN);
  return rows[0]?.count ?? 0;
}

/**
 * Cleans up among graphile-worker's jobs: what a process locked that is no worker of ours any more is freed, and what can
 * never run again is deleted. Jobs of other tasks are let alone.
 */
export async function sweepJobs(database: Database): Promise<void> {
  await queryAll(database, [UNLOCK_STRANDED, DELETE_SPENT]);
}

/** Frees the jobs that these pools of graphile-worker have locked. They must be gone: nobody completes those jobs any more. */
export async function unlockJobs(database: Database, graphilePools: readonly string[]): Promise<void> {
  await database.query("select graphile_worker.force_unlock_workers($1::text[])", [graphilePools]);
}

/** A worker of an earlier version does not say under which name its jobs are locked: then nobody can tell. */
const UNLOCK_STRANDED = `
  with stranded as materialized (
    select distinct j.locked_by as pool from graphile_worker.jobs as j
    where j.task_identifier = 'inturn_turn' and j.locked_at < clock_timestamp() - interval '1 minute'
      and not exists (select from inturn.workers as w where coalesce(w.graphile_pool, j.locked_by) = j.locked_by)
  ), unlocked as materialized (
    select graphile_worker.force_unlock_workers(array_agg(s.pool)) from stranded as s having count(*) > 0
  )
  select count(*)::integer as count from stranded left join unlocked on true`;

/** A wake-up that took the place of a locked one leaves this behind: a job without a key and without attempts. */
const DELETE_SPENT = `
  with spent as materialized (
    select j.id from graphile_worker.jobs as j
    where j.task_identifier = 'inturn_turn' and j.key is null and j.locked_at is null and j.attempts >= j.max_attempts
    limit ${RECONCILE_ACCOUNTS_MAX}
  ), deleted as materialized (
    select graphile_worker.complete_jobs(array_agg(s.id)) from spent as s having count(*) > 0
  )
  select count(*)::integer as count from spent left join deleted on true`;

/** Sends these statements as one message, which PostgreSQL runs as one transaction; each answers with a count. */
async function queryAll(database: Database, statements: readonly string[]): Promise<number[]> {
  const answers = (await database.query(statements.join(";\n"))) as unknown as pg.QueryResult<{ count: number }>[];
  return answers.map((answer) => answer.rows[0]?.count ?? 0);
}
