/**
 * The attempts that failed: what is remembered of them.
 */
import { ATTEMPTS_KEPT, type AttemptOutcome } from "../domain/attempt.ts";
import type { Queryable } from "./pool.ts";

/** What makes a statement remember attempts: the rows of `source`, which has these columns but the slot. */
export const recordAttempts = (source: string): string => `
  insert into inturn.attempts as t (account_id, seq, slot, attempt, worker_id, started_at, ended_at, outcome, error)
  select s.account_id, s.seq, s.attempt % ${ATTEMPTS_KEPT}, s.attempt, s.worker_id, s.started_at, clock_timestamp(), s.outcome, s.error
  from (${source}) as s
  on conflict (account_id, seq, slot) do update
  set attempt = excluded.attempt, worker_id = excluded.worker_id, started_at = excluded.started_at, ended_at = excluded.ended_at,
    outcome = excluded.outcome, error = excluded.error`;

/** A moment of the database's clock, from microseconds since 1970. */
export const momentOf = (microseconds: string): string =>
  `timestamptz 'epoch' + ${microseconds} * interval '1 microsecond'`;

/** An attempt that failed. Times are PostgreSQL's text, in the session's zone. */
export interface FailedAttempt {
  readonly seq: number;
  readonly attempt: number;
  /** Null when it is not known. */
  readonly startedAt: string | null;
  readonly endedAt: string;
  /** What became of the event then. */
  readonly next: AttemptOutcome;
  readonly error: string | null;
  readonly workerId: string | null;
}

/** The most that one page shows. */
const LISTED_MAX = 1_000;

/** The attempts that failed of an account's events from one seq to another, in order. */
export async function listFailedAttempts(
  database: Queryable,
  range: { accountId: string; fromSeq: number; toSeq: number },
): Promise<FailedAttempt[]> {
  const { rows } = await database.query<FailedAttempt>(
    `select f.seq, f.attempt, f.started_at::text as "startedAt", f.ended_at::text as "endedAt", f.next, f.error, f.worker_id as "workerId"
     from inturn.failed_attempts as f where f.account_id = $1 and f.seq between $2 and $3 order by f.seq, f.attempt limit ${LISTED_MAX}`,
    [range.accountId, range.fromSeq, range.toSeq],
  );
  return rows;
}
