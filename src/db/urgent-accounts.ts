/**
 * The listing for operators: those in trouble first. Each state has an index in the order of its urgency.
 */
import type { ShownState } from "../domain/account.ts";
import { beginsWith } from "./accounts.ts";
import type { Database } from "./pool.ts";

/** How a listing is ordered: the most urgent, the most pending events, or the oldest pending event first. */
export type UrgencySort = "urgency" | "pending" | "lag";

/** An account as a listing shows it. Times are PostgreSQL's text, in the session's zone. */
export interface UrgentAccount {
  readonly accountId: string;
  readonly state: ShownState;
  /** Since when it is in that state. */
  readonly since: string;
  readonly events: number;
  readonly pending: number;
  readonly dead: number;
  readonly headSeq: number | null;
  readonly attempts: number;
  readonly error: string | null;
  readonly nextAttemptAt: string | null;
  readonly oldestPendingSeconds: number | null;
}

/** The states in the order of their urgency, where their accounts are found, and which of them come first. */
const STATES: Record<ShownState, { where: string; since: string; order: string }> = {
  blocked: found("a.state = 'blocked' and a.state <> 'idle' and a.paused_at is null"),
  retrying: found("a.state = 'retrying' and a.state <> 'idle' and a.paused_at is null"),
  waiting: found("a.state = 'waiting' and a.state <> 'idle' and a.paused_at is null"),
  paused: { where: "a.paused_at is not null and a.state <> 'running'", since: "a.paused_at", order: "a.paused_at" },
  running: found("a.state = 'running' and a.state <> 'idle'"),
  scheduled: found("a.state = 'scheduled' and a.state <> 'idle' and a.paused_at is null"),
  idle: { ...found("a.state = 'idle' and a.paused_at is null"), order: "a.state_since desc" },
};

function found(where: string): { where: string; since: string; order: string } {
  return { where, since: "a.state_since", order: "a.state_since" };
}

/** Every state that an account can be shown in, the most urgent first. */
export const SHOWN_STATES: readonly ShownState[] = Object.keys(STATES) as ShownState[];

/** By lag this many accounts of each state are compared: those that have been in it for longest. */
const COMPARED_MAX = 2_000;

/** By `pending` and `lag` only accounts with pending events are listed. */
const ORDERS: Record<UrgencySort, { order: string; waits: boolean }> = {
  urgency: { order: "c.rank, c.position", waits: false },
  pending: { order: "c.pending desc, c.id", waits: true },
  lag: { order: "head.received_at, c.id", waits: true },
};

/** A page of accounts. */
export async function listUrgentAccounts(
  database: Database,
  page: { states: readonly ShownState[]; prefix: string; sort: UrgencySort; offset: number; limit: number },
): Promise<UrgentAccount[]> {
  const { prefix, sort, offset, limit } = page;
  const { order, waits } = ORDERS[sort];
  const wanted = page.states.length === 0 ? SHOWN_STATES : page.states;
  const sources = wanted.filter((state) => !waits || state !== "idle").map((state) => sourceOf(state, sort));
  if (sources.length === 0) return [];
  const heads = `left join inturn.events as head on head.account_id = c.id and head.seq = c.head_seq`;
  const text = `
    with candidate as (${sources.join(" union all ")}
    ), page as (
      select c.*, row_number() over (order by ${order}) as number
      from candidate as c ${sort === "lag" ? heads : ""}
      where $1 = $1 ${waits ? "and c.pending > 0" : ""}
      order by ${order} offset $3 limit $4
    )
    select c.id as "accountId", c.state, c.since::text as since, c.last_seq as events, c.pending, c.dead, c.head_seq as "headSeq",
      c.head_attempts as attempts, c.head_error as error, c.next_attempt_at::text as "nextAttemptAt",
      extract(epoch from clock_timestamp() - head.received_at)::double precision as "oldestPendingSeconds"
    from page as c ${heads}
    order by c.number`;
  const rowsMax = { urgency: offset + limit, pending: null, lag: COMPARED_MAX }[sort];
  return (await database.query<UrgentAccount>(text, [prefix, rowsMax, offset, limit])).rows;
}

function sourceOf(state: ShownState, sort: UrgencySort): string {
  const { where, since, order } = STATES[state];
  return `
      (select a.id, '${state}' as state, ${SHOWN_STATES.indexOf(state)} as rank, row_number() over (order by ${order}) as position,
        ${since} as since, a.last_seq, a.last_seq - a.processed_seq as pending, a.dead,
        case when a.processed_seq < a.last_seq then a.processed_seq + 1 end as head_seq,
        a.head_attempts, a.head_error, a.next_attempt_at
       from inturn.accounts as a
       where ${where} and ($1 = '' or ${beginsWith("$1")})
       ${sort === "pending" ? "and a.last_seq > a.processed_seq" : `order by ${order}`} limit $2::bigint)`;
}
