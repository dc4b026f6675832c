import type { StoredEvent } from "../domain/event.ts";
import type { Database } from "./pool.ts";

/** Which events of an account to read. */
export interface PageRequest {
  readonly accountId: string;
  readonly afterSeq: number;
}

/** The most events of one account that a worker keeps in memory. */
const PAGE_EVENTS_MAX = 50;

/** The most bytes of stored data one page carries, beyond its first event. */
const PAGE_BYTES_MAX = 262_144;

const READ_PAGES = {
  name: "inturn_read_pages",
  text: `
    select page.*
    from unnest($1::text[], $2::bigint[]) as wanted (account_id, after_seq)
    cross join lateral (
      select e.account_id as "accountId", e.seq, e.event_id as id, e.type, e.data::text as data, e.metadata::text as metadata,
        e.occurred_at as "occurredAt", e.received_at as "receivedAt"
      from (
        select *, sum(pg_column_size(n.data)) over (order by n.seq) - pg_column_size(n.data) as bytes_before
        from (
          select * from inturn.events as e
          where e.account_id = wanted.account_id and e.seq > wanted.after_seq
          order by e.seq limit ${PAGE_EVENTS_MAX}
        ) as n
      ) as e
      where e.bytes_before < ${PAGE_BYTES_MAX}
      order by e.seq
    ) as page`,
};

/** Reads the next events of several accounts: for each request a page in seq order, empty when there is nothing after it. */
export async function readPages(database: Database, requests: readonly PageRequest[]): Promise<StoredEvent[][]> {
  const values = [requests.map((request) => request.accountId), requests.map((request) => request.afterSeq)];
  const { rows } = await database.query<StoredEvent>({ ...READ_PAGES, values });
  const pages = new Map<string, StoredEvent[]>(requests.map((request) => [request.accountId, []]));
  for (const event of rows) pages.get(event.accountId)?.push(event);
  return requests.map((request) => pages.get(request.accountId) ?? []);
}
