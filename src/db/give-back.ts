import type { AttemptOutcome } from "../domain/attempt.ts";
import { momentOf, recordAttempts } from "./attempts.ts";
import type { Queryable } from "./pool.ts";

/** What becomes of an account whose head failed. */
export interface HeadFailure {
  readonly message: string;
  /** Whether it is the failure of the event that was started last, and no other one has to wait for it. */
  readonly isOfEvent: boolean;
  /**
   * `retrying`: again after `waitMs`. `blocked`: never by itself, or, parked, set aside as a dead letter after `waitMs`.
   * `waiting`: when `target` is back.
   */
  readonly state: "retrying" | "blocked" | "waiting";
  readonly waitMs: number | null;
  /** The target that the failure says something of: when it is found to be away, the account waits for it. */
  readonly target: string | null;
  /** The attempt that failed, to be remembered: when it began, in microseconds of the database's clock, and what follows. */
  readonly attempt?: { readonly startedUs: number | null; readonly next: AttemptOutcome };
  /** Whether the head failed in an outage that no handler has told of: how often is counted. */
  readonly isOutage?: boolean;
  /** Whether the head was only put off: for how long in all is counted. */
  readonly snoozes?: boolean;
}

/** A lease that ends before its account is done. */
export interface GiveBack {
  readonly accountId: string;
  /** The lease's epoch; null when a claim's answer was lost: then whatever lease the worker has is ended. */
  readonly epoch: number | null;
  /** The last event whose handler was started; null for none. A head that was not started loses no attempt. */
  readonly startedSeq: number | null;
  /** Why the head has to wait; null when it was not its fault and it may go on at once. */
  readonly failure: HeadFailure | null;
  /** The attempt was cut short by the worker: the handler hears of it, the limit of attempts does not. */
  readonly forgives: boolean;
  /** The pause that covers the head: the account rests until that ends. */
  readonly pausedBy?: number | null;
}

/**
 * The wake-up of a failed head carries the time of its next attempt, so the account waits without a slot.
 * A failure holds up only the event it speaks of: when a settle that was given up for lost did land, another one is the head,
 * or none is, and the account is idle.
 */
const GIVE_BACK = {
  name: "inturn_give_back",
  text: `
    with held as materialized (
      select i.account_id, i.epoch, i.started_seq, i.error, i.wait_ms, i.forgives, i.target, i.snoozes, i.is_outage,
        i.attempt_next, i.attempt_started_us, i.paused_by, a.head_attempts as attempt,
        a.state = 'running' and a.lease_worker = $7::uuid and a.epoch = coalesce(i.epoch, a.epoch) as valid,
        coalesce(a.processed_seq = i.started_seq - 1, false) as started,
        a.processed_seq < i.started_seq - 1 as started_early,
        case
          when a.processed_seq = a.last_seq then 'idle'
          when i.is_of_event and a.processed_seq <> i.started_seq - 1 then 'scheduled'
          else i.state
        end as next_state
      from unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::double precision[], $6::text[], $8::boolean[], $9::boolean[],
        $10::text[], $11::boolean[], $12::text[], $13::bigint[], $14::boolean[], $15::bigint[])
        as i (account_id, epoch, started_seq, error, wait_ms, state, is_of_event, forgives, target, snoozes, attempt_next, attempt_started_us, is_outage, paused_by)
      join inturn.accounts as a on a.id = i.account_id
      order by a.id
      for update of a
    ), freed as (
      update inturn.accounts as a
      set state = h.next_state,
        state_since = clock_timestamp(),
        lease_worker = null,
        head_attempts = a.head_attempts - case when h.started then 0 else 1 end,
        attempts_forgiven = a.attempts_forgiven + (h.started and h.forgives)::integer,
        head_error = case
          when h.next_state in ('retrying', 'blocked') or h.next_state = 'waiting' and h.started then h.error else a.head_error
        end,
        head_target = case when h.next_state in ('retrying', 'blocked', 'waiting') then h.target else a.head_target end,
        head_outages = a.head_outages + (h.is_outage and h.started)::integer,
        snoozed_since = case when h.snoozes and h.started then coalesce(a.snoozed_since, clock_timestamp()) else a.snoozed_since end,
        -- Who is paused by a person already stays so.
        paused_at = case when h.next_state = 'scheduled' and h.paused_by is not null then coalesce(a.paused_at, clock_timestamp()) else a.paused_at end,
        paused_by = case when h.next_state = 'scheduled' and a.paused_at is null then h.paused_by end,
        next_attempt_at = case when h.next_state = 'retrying' then clock_timestamp() + h.wait_ms * interval '1 millisecond' end,
        parked_until = case when h.next_state = 'blocked' then clock_timestamp() + h.wait_ms * interval '1 millisecond' end
      from held as h
      where a.id = h.account_id and h.valid
      returning a.id, a.epoch, a.next_attempt_at, inturn.waits(a.state, a.paused_at) as waits, h.epoch as named_epoch
    ), early as (
      -- It was started before its predecessor was settled: that stays to be seen (see noteEarlyStarts).
      update inturn.events as e set started_at = least(e.started_at, clock_timestamp())
      from held as h
      where e.account_id = h.account_id and e.seq = h.started_seq and h.started_early and h.valid
    ), remembered as (${recordAttempts(`
      select h.account_id, h.started_seq as seq, h.attempt, $7::uuid as worker_id, ${momentOf("h.attempt_started_us")} as started_at,
        h.attempt_next as outcome, h.error
      from held as h where h.valid and h.started and h.attempt_next is not null`)}
    ), woken as materialized (
      select inturn.wake(array_agg(f.id), array_agg(f.epoch), array_agg(f.next_attempt_at))
      from freed as f where f.waits having count(*) > 0
    )
    select f.id as "accountId", f.named_epoch as epoch from freed as f left join woken on true`,
};

/**
 * Ends these leases of a worker in one transaction and schedules their accounts again.
 *
 * @returns the leases that were still the worker's; the others had been taken over
 */
export async function giveBackLeases(
  database: Queryable,
  workerId: string,
  ends: readonly GiveBack[],
): Promise<{ accountId: string; epoch: number | null }[]> {
  const values = [
    ends.map((end) => end.accountId),
    ends.map((end) => end.epoch),
    ends.map((end) => end.startedSeq),
    ends.map((end) => end.failure?.message ?? null),
    ends.map((end) => end.failure?.waitMs ?? null),
    ends.map((end) => end.failure?.state ?? "scheduled"),
    workerId,
    ends.map((end) => end.failure?.isOfEvent ?? false),
    ends.map((end) => end.forgives),
    ends.map((end) => end.failure?.target ?? null),
    ends.map((end) => end.failure?.snoozes ?? false),
    ends.map((end) => end.failure?.attempt?.next ?? null),
    ends.map((end) => end.failure?.attempt?.startedUs ?? null),
    ends.map((end) => end.failure?.isOutage ?? false),
    ends.map((end) => end.pausedBy ?? null),
  ];
  return (await database.query<{ accountId: string; epoch: number | null }>({ ...GIVE_BACK, values })).rows;
}
