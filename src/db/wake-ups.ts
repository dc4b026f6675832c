/**
 * Lost wake-ups, and graphile-worker's jobs that no worker will complete. A wake-up is a hint: the account's row says
 * whether it is due.
 */
import { momentOf } from "./attempts.ts";
import type { Database } from "./pool.ts";
import { GATE } from "./reconcile.ts";

/** Where a look begins: after the account that became due at this moment and has this id. */
export interface DueMark {
  /** Microseconds since 1970, by the database's clock. */
  readonly dueUs: number;
  readonly accountId: string;
}

/** Before every account. */
export const FIRST_DUE: DueMark = { dueUs: 0, accountId: "" };

/** What one look at the accounts that are due found. */
export interface DueLook {
  /** Accounts that were due without a wake-up, and have one now. */
  readonly woken: number;
  /** Accounts whose wake-up could be fetched for a second, and was not. */
  readonly unfetched: number;
  /** The first account that was looked at, and the last one. */
  readonly first: DueMark | null;
  readonly last: DueMark | null;
  /** Whether more accounts may be due behind the last one. */
  readonly isFull: boolean;
  /** The database's clock, in microseconds. */
  readonly nowUs: number;
}

/** The most accounts that one look reads. A thousand take about 20 ms. */
const LOOK_ACCOUNTS_MAX = 1_000;

/** A job that a live worker process fetched this long ago and that led to no claim was lost on its way. */
const FETCHED_JOB_SECONDS_MAX = 5;

/** The most jobs that one sweep deletes. */
const SWEEP_JOBS_MAX = 1_000;

const DUE = "coalesce(a.next_attempt_at, a.state_since)";

/** An account is looked at when it has been due for a second: until then its wake-up may be on its way. */
const IS_DUE = `inturn.waits(a.state, a.paused_at) and ${DUE} < now() - interval '1 second'`;

const US = (moment: string) => `(extract(epoch from ${moment}) * 1000000)::bigint`;

/**
 * Level-triggered: it looks at what is, not at what happened. An account that is due and has no job on its way gets one,
 * whatever became of the first. It is judged again when its row is locked, so that no claim is half-way.
 *
 * The key of a job is compared in the collation of its column, which differs from that of an account's id: without that every
 * account would read all jobs.
 */
const WAKE_LOST = {
  name: "inturn_wake_lost",
  text: `
    with ${GATE}, seen as materialized (
      select a.id, a.epoch, ${DUE} as due from inturn.accounts as a
      where (select g.mine from gate as g) and ${IS_DUE}
        and (${DUE}, a.id) > (${momentOf("$1::bigint")}, $2::text)
      order by ${DUE}, a.id limit ${LOOK_ACCOUNTS_MAX}
    ), judged as materialized (
      select s.id, s.due, wake_up.is_unfetched
      from seen as s
      left join lateral (
        select j.locked_at is null and j.run_at < now() - interval '1 second' as is_unfetched
        from graphile_worker.jobs as j
        where j.key = (s.id || '#' || s.epoch) collate pg_catalog."default"
          and (j.locked_at is null and j.attempts < j.max_attempts
            or j.locked_at > now() - interval '${FETCHED_JOB_SECONDS_MAX} seconds'
              and exists (select from inturn.workers as w where coalesce(w.graphile_pool, j.locked_by) = j.locked_by))
        -- One look-up for each account: a plan made while there were hardly any jobs would compare each account with all of them.
        limit 1
      ) as wake_up on true
    ), lost as materialized (
      select a.id, a.epoch from inturn.accounts as a
      where a.id = any (array(select j.id from judged as j where j.is_unfetched is null)) and ${IS_DUE}
      order by a.id
      for update skip locked
    ), woken as materialized (
      select inturn.wake(array_agg(l.id), array_agg(l.epoch)) as jobs from lost as l having count(*) > 0
    ), ends as (
      select (select array[${US("j.due")}::text, j.id] from judged as j order by j.due, j.id limit 1) as first,
        (select array[${US("j.due")}::text, j.id] from judged as j order by j.due desc, j.id desc limit 1) as last
    )
    select coalesce((select w.jobs from woken as w), 0) as woken,
      (select count(*)::integer from judged as j where j.is_unfetched) as unfetched,
      (select count(*) = ${LOOK_ACCOUNTS_MAX} from judged) as "isFull",
      e.first, e.last, ${US("clock_timestamp()")} as "nowUs"
    from ends as e cross join gate as g where g.mine`,
};

/**
 * Looks at the accounts that became due after this mark, the oldest first, up to a thousand, and wakes those whose wake-up got
 * lost. By itself it heals a lost job, a deleted job, and a crash between any two steps.
 *
 * @returns undefined while another process does this
 */
export async function wakeLost(database: Database, after: DueMark): Promise<DueLook | undefined> {
  type Row = Omit<DueLook, "first" | "last"> & Record<"first" | "last", [string, string] | null>;
  const { rows } = await database.query<Row>({ ...WAKE_LOST, values: [after.dueUs, after.accountId] });
  const [row] = rows;
  return row && { ...row, first: toMark(row.first), last: toMark(row.last) };
}

function toMark(mark: [string, string] | null): DueMark | null {
  return mark && { dueUs: Number(mark[0]), accountId: mark[1] };
}

/**
 * Cleans up among graphile-worker's jobs: what a process locked that is no worker of ours any more is freed, and what can
 * never run again is deleted. Jobs of other tasks are let alone. It reads all jobs, once a minute: no index finds these.
 */
export async function sweepJobs(database: Database): Promise<void> {
  await database.query(UNLOCK_STRANDED);
  await database.query(DELETE_SPENT);
}

/** Frees the jobs that these pools of graphile-worker have locked. The pools must be gone: their jobs are not completed any more. */
export async function unlockJobs(database: Database, graphilePools: readonly string[]): Promise<void> {
  await database.query("select graphile_worker.force_unlock_workers($1::text[])", [graphilePools]);
}

/** Whether a job of graphile-worker is one of ours. */
const IS_OURS = "j.task_identifier in ('inturn_turn', 'inturn_operate')";

/**
 * Whether a job of ours is locked by a process that is gone, in SQL. A worker of an earlier version does not say under which name its
 * jobs are locked: while one lives, no job counts as stranded.
 */
export const IS_STRANDED = `${IS_OURS} and j.locked_at < now() - interval '1 minute'
  and not exists (select from inturn.workers as w where coalesce(w.graphile_pool, j.locked_by) = j.locked_by)`;

const UNLOCK_STRANDED = `
  with stranded as materialized (
    select distinct j.locked_by as pool from graphile_worker.jobs as j where ${IS_STRANDED}
  )
  select graphile_worker.force_unlock_workers(array_agg(s.pool)) from stranded as s having count(*) > 0`;

/** A wake-up that took the slot of a locked one leaves this behind: a job without a key and without attempts. */
const DELETE_SPENT = `
  with spent as materialized (
    select j.id from graphile_worker.jobs as j
    where ${IS_OURS} and j.key is null and j.locked_at is null and j.attempts >= j.max_attempts
    limit ${SWEEP_JOBS_MAX}
  )
  select graphile_worker.complete_jobs(array_agg(s.id)) from spent as s having count(*) > 0`;
