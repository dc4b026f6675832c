import type { Lease } from "../domain/lease.ts";
import type { Database } from "./pool.ts";

/** A claimed lease, and the database's clock at that moment, in microseconds. */
export interface Claimed extends Lease {
  readonly databaseUs: number;
  /** The target of the head, when an earlier attempt of it failed or it has waited for that target; else null. */
  readonly headTarget: string | null;
  /** How often the head failed and was forgiven because its target was found to be away. */
  readonly headOutages: number;
  /** For how long the head has been put off without an attempt; null when it has not. */
  readonly snoozedMs: number | null;
  /** The pause that has let the account go on for one event; null when none has. */
  readonly releasedBy: number | null;
}

/**
 * The rows are locked before they are judged: an append that is just committing is waited for and then seen, so a
 * wake-up can never come "too early". The states of the locked rows count, not those of the statement's snapshot.
 * A worker whose own lease has run out gets nothing: it could not keep what it took.
 */
const CLAIM = {
  name: "inturn_claim",
  text: `
    with worker as materialized (
      select w.id from inturn.workers as w where w.id = $2::uuid and w.lease_expires_at > clock_timestamp()
    ), held as materialized (
      select a.id, a.state, a.next_attempt_at, a.paused_at, a.paused_by from inturn.accounts as a where a.id = any ($1::text[]) order by a.id for update
    )
    update inturn.accounts as a
    set state = 'running', lease_worker = worker.id, epoch = a.epoch + 1, head_attempts = a.head_attempts + 1,
      head_started = false, next_attempt_at = null, paused_by = null, state_since = clock_timestamp()
    from held as h, worker
    where a.id = h.id and inturn.waits(h.state, h.paused_at)
      and coalesce(h.next_attempt_at, '-infinity') <= clock_timestamp()
    returning a.id as "accountId", a.epoch, a.processed_seq as "processedSeq", a.head_attempts as attempt,
      a.attempts_forgiven as "attemptsForgiven", a.head_target as "headTarget", a.head_outages as "headOutages", h.paused_by as "releasedBy",
      extract(epoch from clock_timestamp() - a.snoozed_since)::double precision * 1000 as "snoozedMs", (extract(epoch from clock_timestamp()) * 1000000)::bigint as "databaseUs"`,
};

/**
 * Claims these accounts for this worker. An account that another worker runs, that is paused or blocked, or that has
 * nothing to do, is not among the leases. The attempt of the head is counted here, before any handler runs, so that a crash
 * counts; what a takeover finds not to have been started is taken back.
 */
export async function claimAccounts(
  database: Database,
  workerId: string,
  accountIds: readonly string[],
): Promise<Claimed[]> {
  return (await database.query<Claimed>({ ...CLAIM, values: [accountIds, workerId] })).rows;
}
