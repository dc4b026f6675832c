/**
 * The listings of accounts: by id or by pending events, and for operators, those in trouble first. A page is chosen on the table, by
 * an index, so it costs the same among a hundred accounts and a hundred thousand; what stands on it is what the public view shows.
 * The view looks at the clock, so a join would make all of it for each page: `lateral` with `offset 0` asks it for one row at a time.
 */
import type { ShownState } from "../domain/account.ts";
import type { Database } from "./pool.ts";
import { ACCOUNT_COLUMNS, type AccountResult } from "./results.ts";

/** The most rows one page of a listing holds. */
export const PAGE_ROWS_MAX = 1_000;

/** Whether an id begins with this parameter, by the index: up to the last character that there is, as often as an id is long. */
const beginsWith = (prefix: string) =>
  `a.id between ${prefix} and ${prefix} || repeat(chr(1114111), 250) and starts_with(a.id, ${prefix})`;

/** A position between two accounts in the order of a listing. */
export interface AccountPosition {
  readonly accountId: string;
  /** Where the listing goes by it: how many events were pending. */
  readonly pending: number;
}

/** Which accounts, and in which order. */
export interface AccountFilter {
  /** Any of these, as the view calls them; empty for all. */
  readonly states: readonly string[];
  /** The ids begin with each of these. */
  readonly prefixes: readonly string[];
  /** By id, or with the most pending events first; then only accounts that have any. */
  readonly sort: "id" | "pending";
}

/** The state of `inturn.accounts as a`, as `inturn.account_results` shows it. */
export const SHOWN_STATE = "inturn.shown_state(a.state, a.paused_at)";

/** Whether every account in one of these states has pending events: then a smaller index serves. */
const neverIdle = (states: readonly string[]) =>
  states.length > 0 && !states.includes("idle") && !states.includes("paused");

/** Whether nothing but paused accounts is wanted: they are few and have an index. */
const onlyPaused = (states: readonly string[]) => states.length > 0 && states.every((state) => state === "paused");

/** A page of accounts after this position. */
export async function listAccounts(
  database: Database,
  page: AccountFilter & { after: AccountPosition | null; limit: number },
): Promise<AccountResult[]> {
  const { states, prefixes, sort, after, limit } = page;
  const values: unknown[] = [];
  const bind = (value: unknown) => `$${values.push(value)}`;
  const byPending = sort === "pending";
  const order = byPending ? "a.processed_seq - a.last_seq, a.id" : "a.id";
  const wanted = prefixes.map(bind).map(beginsWith);
  if (onlyPaused(states)) wanted.push("a.paused_at is not null", "a.state <> 'running'");
  else if (states.length > 0) wanted.push(`${SHOWN_STATE} = any (${bind(states)}::text[])`);
  if (byPending || neverIdle(states)) wanted.push("a.state <> 'idle'");
  if (byPending) wanted.push("a.last_seq > a.processed_seq");
  if (after !== null) {
    const position = byPending ? `${bind(-after.pending)}::bigint, ${bind(after.accountId)}` : bind(after.accountId);
    wanted.push(`(${order}) > (${position})`);
  }
  const text = `
    with page as materialized (
      select a.id, row_number() over (order by ${order}) as position from inturn.accounts as a
      ${wanted.length > 0 ? `where ${wanted.join(" and ")}` : ""}
      order by ${order} limit ${bind(limit)}
    )
    select ${ACCOUNT_COLUMNS} from page as p
    cross join lateral (select * from inturn.account_results as r where r.account_id = p.id offset 0) as r
    order by p.position`;
  return (await database.query<AccountResult>(text, values)).rows;
}

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
