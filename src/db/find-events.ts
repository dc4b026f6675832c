/**
 * Finding events, without an index of their own: what is looked at is bounded, and the answer says how far it came (`sql/search/`).
 */
import type { EventState } from "../domain/event.ts";
import type { EventResult } from "./event-pages.ts";
import type { Queryable } from "./pool.ts";

/** Which events are wanted: those that fit everything that is said. */
export interface EventFilter {
  readonly id?: string | undefined;
  /** With `*` at its end, what the type begins with. */
  readonly type?: string | undefined;
  /** A part of the error's text, in capitals or not: of a dead letter, of a skipped event, or of a head that failed. */
  readonly error?: string | undefined;
  readonly state?: EventState | undefined;
  /** What the account ids begin with. */
  readonly prefix?: string | undefined;
  /** When they arrived: times with their zone, both included. */
  readonly receivedFrom?: string | undefined;
  readonly receivedTo?: string | undefined;
}

/** Between the events that were looked at and those that were not, in the order of accounts and seqs. */
export interface EventPosition {
  readonly accountId: string;
  readonly seq: number;
}

/** Before every event. */
export const FIRST_EVENT: EventPosition = { accountId: "", seq: 0 };

/** An event that was found, without its data. Times are PostgreSQL's text, in the session's zone. */
export type FoundEvent = Omit<EventResult, "data" | "metadata" | "bytes">;

/** What one look found. */
export interface EventsFound {
  readonly events: readonly FoundEvent[];
  readonly accountsLooked: number;
  readonly eventsLooked: number;
  /** Where to look on; null when there is nothing more to look at. */
  readonly next: EventPosition | null;
}

/** Characters of an error that a listing shows. */
const ERROR_LENGTH_MAX = 1_000;

const DETAILS = `
  select r.account_id as "accountId", r.seq, r.event_id as "eventId", r.type, r.received_at::text as "receivedAt",
    r.started_at::text as "startedAt", r.processed_at::text as "processedAt", r.attempts, r.state, r.wait_ms as "waitMs",
    r.duration_ms as "durationMs",
    left(coalesce(e.error, case when a.processed_seq + 1 = r.seq then a.head_error end), ${ERROR_LENGTH_MAX}) as error
  from unnest($1::text[], $2::bigint[]) with ordinality as f (account_id, seq, position)
  cross join lateral (
    select * from inturn.event_results as r where r.account_id = f.account_id and r.seq = f.seq offset 0
  ) as r
  join inturn.events as e on e.account_id = f.account_id and e.seq = f.seq
  join inturn.accounts as a on a.id = f.account_id
  order by f.position`;

/** Looks for events after a position, until it has found `limit` of them, or has looked at 20,000 accounts or events. */
export async function findEvents(
  database: Queryable,
  search: { filter: EventFilter; after: EventPosition; limit: number },
): Promise<EventsFound> {
  const { filter, after, limit } = search;
  const { rows } = await database.query<{
    accountIds: string[];
    seqs: string[];
    accountsLooked: number;
    eventsLooked: number;
    lastAccount: string | null;
    lastSeq: number;
  }>(
    `select f.account_ids as "accountIds", f.seqs, f.accounts_looked as "accountsLooked", f.events_looked as "eventsLooked",
       f.last_account as "lastAccount", f.last_seq as "lastSeq"
     from inturn.find_events($1, $2, $3, $4) as f`,
    [JSON.stringify(filter), after.accountId, after.seq, limit],
  );
  const {
    accountIds = [],
    seqs = [],
    accountsLooked = 0,
    eventsLooked = 0,
    lastAccount = null,
    lastSeq = 0,
  } = rows[0] ?? {};
  const events = accountIds.length === 0 ? [] : (await database.query<FoundEvent>(DETAILS, [accountIds, seqs])).rows;
  const next = lastAccount === null ? null : { accountId: lastAccount, seq: lastSeq };
  return { events, accountsLooked, eventsLooked, next };
}
