/**
 * The listings of accounts, by id or by pending events. A page is chosen on the table, by an index, so it costs the same among a
 * hundred accounts and a hundred thousand; what stands on it is what the public view shows.
 * The view looks at the clock, so a join would make all of it for each page: `lateral` with `offset 0` asks it for one row at a time.
 */
import type { Database } from "./pool.ts";
import { ACCOUNT_COLUMNS, type AccountResult } from "./results.ts";

/** The most rows one page of a listing holds. */
export const PAGE_ROWS_MAX = 1_000;

/** Whether an id begins with this parameter, by the index: up to the last character that there is, as often as an id is long. */
export const beginsWith = (prefix: string): string =>
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
