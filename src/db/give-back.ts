import type { Database } from "./pool.ts";

/** A lease that ends before its account is done. */
export interface GiveBack {
  readonly accountId: string;
  /** The lease's epoch; null when a claim's answer was lost: then whatever lease the worker has is ended. */
  readonly epoch: number | null;
  /** Why the head has to wait, and for how long; null when it was not its fault and it may go on at once. */
  readonly failure: { readonly message: string; readonly retryInMs: number } | null;
  /** Whether the head's handler was started. One that was not started loses no attempt. */
  readonly started: boolean;
}

/** Characters of an error message that are kept with the account. */
const ERROR_LENGTH_MAX = 2_000;

/**
 * The wake-up of a failed head carries the time of its next attempt, so the account waits without holding anybody's place.
 */
const GIVE_BACK = {
  name: "inturn_give_back",
  text: `
    with held as materialized (
      select i.*, a.state = 'running' and a.lease_worker = $6::uuid and a.epoch = coalesce(i.epoch, a.epoch) as valid
      from unnest($1::text[], $2::bigint[], $3::text[], $4::double precision[], $5::boolean[])
        as i (account_id, epoch, error, retry_in_ms, started)
      join inturn.accounts as a on a.id = i.account_id
      order by a.id
      for update of a
    ), freed as (
      update inturn.accounts as a
      set state = case when h.error is null then 'scheduled' else 'retrying' end,
        state_since = clock_timestamp(),
        lease_worker = null,
        head_attempts = a.head_attempts - case when h.started then 0 else 1 end,
        head_error = coalesce(h.error, a.head_error),
        next_attempt_at = case when h.error is not null then clock_timestamp() + h.retry_in_ms * interval '1 millisecond' end
      from held as h
      where a.id = h.account_id and h.valid
      returning a.id, a.epoch, a.next_attempt_at, h.epoch as named_epoch
    ), woken as materialized (
      select inturn.wake(array_agg(f.id), array_agg(f.epoch), array_agg(f.next_attempt_at)) from freed as f having count(*) > 0
    )
    select f.id as "accountId", f.named_epoch as epoch from freed as f left join woken on true`,
};

/**
 * Ends these leases of a worker in one transaction and schedules their accounts again.
 *
 * @returns the leases that were still the worker's; the others had been taken over
 */
export async function giveBackLeases(
  database: Database,
  workerId: string,
  ends: readonly GiveBack[],
): Promise<{ accountId: string; epoch: number | null }[]> {
  const values = [
    ends.map((end) => end.accountId),
    ends.map((end) => end.epoch),
    ends.map((end) => end.failure && storable(end.failure.message)),
    ends.map((end) => end.failure?.retryInMs ?? null),
    ends.map((end) => end.started),
    workerId,
  ];
  return (await database.query<{ accountId: string; epoch: number | null }>({ ...GIVE_BACK, values })).rows;
}

/** Cuts an error's text to size and takes out the one character PostgreSQL cannot hold. */
function storable(message: string): string {
  return message.slice(0, ERROR_LENGTH_MAX).replaceAll("\0", "�").toWellFormed();
}
