/**
 * Reading an account's events page by page. A page is chosen on the table, by an index; what stands on it is what the public view
 * shows. `lateral` with `offset 0` asks the view for one row at a time: joined, all of it might be made for each page.
 */
import type { EventState } from "../domain/event.ts";
import { BYTES } from "./events.ts";
import type { Database } from "./pool.ts";

/** Bytes of data and metadata, as text, that one page carries, unless its first event is larger. */
const PAGE_BYTES_MAX = 1_048_576;

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
  readonly state: EventState;
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
