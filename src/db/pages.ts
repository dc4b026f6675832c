/**
 * Reading accounts and events page by page. A page is chosen on the tables, by an index; what stands on it is what the public
 * views show. A view that looks at the clock is not merged into a statement: joined to it, all of the view would be made for each
 * page. `lateral` with `offset 0` asks it for one row at a time.
 */
import { BYTES } from "./events.ts";
import type { Database } from "./pool.ts";
import { ACCOUNT_COLUMNS, type AccountResult } from "./results.ts";

/** The most rows one page of a listing holds. */
export const PAGE_ROWS_MAX = 1_000;

/** Bytes of data and metadata, as text, that one page carries, unless its first event is larger. */
const PAGE_BYTES_MAX = 1_048_576;

/** A place between two accounts in the order of a listing. */
export interface AccountPlace {
  readonly accountId: string;
  /** Where the listing goes by it: how many events waited. */
  readonly pending: number;
}

/** Which accounts, and in which order. */
export interface AccountFilter {
  /** Any of these, as the view calls them; empty for all. */
  readonly states: readonly string[];
  /** The ids begin with each of these. */
  readonly prefixes: readonly string[];
  /** By id, or with the most waiting events first; then only accounts are listed that have any. */
  readonly sort: "id" | "pending";
}

/** The state, as the view shows it. */
const STATE = "case when a.paused_at is not null and a.state <> 'running' then 'paused' else a.state end";

/** Whether nothing of an account in one of these states is without events that wait: then a smaller index serves. */
const neverIdle = (states: readonly string[]) =>
  states.length > 0 && !states.includes("idle") && !states.includes("paused");

/** A page of accounts after this place. */
export async function listAccounts(
  database: Database,
  page: AccountFilter & { after: AccountPlace | null; limit: number },
): Promise<AccountResult[]> {
  const { states, prefixes, sort, after, limit } = page;
  const values: unknown[] = [];
  const bind = (value: unknown) => `$${values.push(value)}`;
  const byPending = sort === "pending";
  const order = byPending ? "a.processed_seq - a.last_seq, a.id" : "a.id";
  // From the beginning to the end of what begins with it: the last character that there is, as often as an id is long.
  const wanted = prefixes
    .map(bind)
    .map(
      (prefix) => `a.id between ${prefix} and ${prefix} || repeat(chr(1114111), 250) and starts_with(a.id, ${prefix})`,
    );
  if (states.length > 0) wanted.push(`${STATE} = any (${bind(states)}::text[])`);
  if (byPending || neverIdle(states)) wanted.push("a.state <> 'idle'");
  if (byPending) wanted.push("a.last_seq > a.processed_seq");
  if (after !== null) {
    const place = byPending ? `${bind(-after.pending)}::bigint, ${bind(after.accountId)}` : bind(after.accountId);
    wanted.push(`(${order}) > (${place})`);
  }
  const text = `
    with page as materialized (
      select a.id, row_number() over (order by ${order}) as place from inturn.accounts as a
      ${wanted.length > 0 ? `where ${wanted.join(" and ")}` : ""}
      order by ${order} limit ${bind(limit)}
    )
    select ${ACCOUNT_COLUMNS} from page as p
    cross join lateral (select * from inturn.account_results as r where r.account_id = p.id offset 0) as r
    order by p.place`;
  return (await database.query<AccountResult>(text, values)).rows;
}

/** An event, as the view shows it, with what came beside its data. Times are PostgreSQL's text, in the session's zone. */
export interface EventResult {
  readonly accountId: string;
  readonly seq: number;
  readonly eventId: string | null;
  readonly type: string | null;
  /** JSON text, as it was stored. */
  readonly data: string;
  /** JSON text, as it was stored. */
  readonly metadata: string | null;
  /** Of data and metadata, as text. */
  readonly bytes: number;
  readonly receivedAt: string;
  readonly startedAt: string | null;
  readonly processedAt: string | null;
  readonly attempts: number;
  readonly state: "pending" | "processing" | "retrying" | "processed" | "dead" | "skipped";
  readonly waitMs: number | null;
  readonly durationMs: number | null;
  /** Why it was set aside or skipped. */
  readonly error: string | null;
}

/** Which events a page holds, and what it will take. */
export interface EventsPage {
  readonly accountId: string;
  readonly afterSeq: number;
  readonly lastSeq: number;
  /** Of data and metadata, as text. */
  readonly bytes: number;
}

const SIZE_OF_PAGE = `
  select max(n.seq) as "lastSeq", max(n.bytes_so_far)::bigint as bytes
  from (
    select e.seq, e.bytes, sum(e.bytes) over (order by e.seq) as bytes_so_far
    from (
      select e.seq, ${BYTES} as bytes from inturn.events as e where e.account_id = $1 and e.seq > $2 order by e.seq limit $3
    ) as e
  ) as n
  where n.bytes_so_far <= ${PAGE_BYTES_MAX} or n.bytes_so_far = n.bytes`;

/** The page of an account's events after this seq; shorter than `limit` also where the data is large. Undefined when there are none. */
export async function findPage(
  database: Database,
  page: { accountId: string; afterSeq: number; limit: number },
): Promise<EventsPage | undefined> {
  const { accountId, afterSeq } = page;
  const values = [accountId, afterSeq, page.limit];
  const { rows } = await database.query<{ lastSeq: number | null; bytes: number }>(SIZE_OF_PAGE, values);
  const { lastSeq = null, bytes = 0 } = rows[0] ?? {};
  return lastSeq === null ? undefined : { accountId, afterSeq, lastSeq, bytes };
}

const EVENTS = `
  with page as materialized (
    select e.seq, e.metadata, e.error, ${BYTES} as bytes from inturn.events as e where e.account_id = $1 and e.seq > $2 and e.seq <= $3
  )
  select r.account_id as "accountId", r.seq, r.event_id as "eventId", r.type,
    case when $4::integer is null then r.data::text else left(r.data::text, $4) end as data, p.metadata::text as metadata, p.bytes,
    r.received_at::text as "receivedAt", r.started_at::text as "startedAt", r.processed_at::text as "processedAt", r.attempts,
    r.state, r.wait_ms as "waitMs", r.duration_ms as "durationMs", p.error
  from page as p cross join lateral (select * from inturn.event_results as r where r.account_id = $1 and r.seq = p.seq offset 0) as r
  order by p.seq`;

/**
 * The events of a page, in order; none where there is no page.
 *
 * @param options.charactersMax of the data of each; all of it unless told
 */
export async function readPage(
  database: Database,
  page: EventsPage | undefined,
  options: { charactersMax?: number } = {},
): Promise<EventResult[]> {
  if (page === undefined) return [];
  const values = [page.accountId, page.afterSeq, page.lastSeq, options.charactersMax ?? null];
  return (await database.query<EventResult>(EVENTS, values)).rows;
}

/** Where to find one event; undefined when there is none with this seq, or it is no longer kept. */
export async function findEvent(database: Database, accountId: string, seq: number): Promise<EventsPage | undefined> {
  const page = await findPage(database, { accountId, afterSeq: seq - 1, limit: 1 });
  return page?.lastSeq === seq ? page : undefined;
}

/** How far these accounts are: the last settled seq of each that exists. */
export async function readProcessedSeqs(
  database: Database,
  accountIds: readonly string[],
): Promise<Map<string, number>> {
  const { rows } = await database.query<{ id: string; seq: number }>(
    "select a.id, a.processed_seq as seq from inturn.accounts as a where a.id = any ($1)",
    [accountIds],
  );
  return new Map(rows.map(({ id, seq }) => [id, seq]));
}
