import type { StoredEvent } from "../domain/event.ts";
import type { Database } from "./pool.ts";

/** Which events of an account to read. */
export interface BatchRequest {
  readonly accountId: string;
  readonly afterSeq: number;
}

/** The next events of an account, in seq order. */
export interface Batch {
  /** Empty when there is nothing after the seq, or when the next event alone is larger than a batch may be. */
  readonly events: readonly StoredEvent[];
  /** The size of an event that is too large for a batch; 0 when there is none. */
  readonly nextBytes: number;
}

/** How large an event is as text, in a statement; an event of an earlier version does not say, and is unpacked for it. */
export const BYTES = "coalesce(e.bytes, octet_length(e.data::text) + coalesce(octet_length(e.metadata::text), 0))";

const COLUMNS = `e.account_id as "accountId", e.seq, e.event_id as id, e.type,
  date_part('epoch', e.occurred_at) * 1000 as "occurredAt", date_part('epoch', e.received_at) * 1000 as "receivedAt"`;

/** Times come as numbers, in ms: a time as text takes a tenth of what a worker does for an event. */
interface EventRow extends Omit<StoredEvent, "occurredAt" | "receivedAt"> {
  readonly occurredAt: number | null;
  readonly receivedAt: number;
}

function toEvent(row: EventRow): StoredEvent {
  const occurredAt = row.occurredAt === null ? null : new Date(row.occurredAt);
  return Object.assign(row, { occurredAt, receivedAt: new Date(row.receivedAt) });
}

const createRead = (eventsMax: number) => ({
  name: `inturn_read_${eventsMax}`,
  text: `
    select batch.*
    from unnest($1::text[], $2::bigint[]) as wanted (account_id, after_seq)
    cross join lateral (
      select ${COLUMNS}, e.bytes, case when e.bytes <= $3 then e.data::text end as data,
        case when e.bytes <= $3 then e.metadata::text end as metadata
      from (
        select *, sum(n.bytes) over (order by n.seq) as bytes_so_far
        from (
          select e.account_id, e.seq, e.event_id, e.type, e.data, e.metadata, e.occurred_at, e.received_at, ${BYTES} as bytes
          from inturn.events as e
          where e.account_id = wanted.account_id and e.seq > wanted.after_seq
          order by e.seq limit ${eventsMax}
        ) as n
      ) as e
      where e.bytes_so_far <= $3 or e.bytes_so_far = e.bytes
      order by e.seq
    ) as batch`,
});

/**
 * Reads the next events of several accounts, for each request a batch.
 *
 * @param options.eventsMax of one batch
 * @param options.bytesMax of one batch: data and metadata, as text
 */
export async function readBatches(
  database: Database,
  requests: readonly BatchRequest[],
  options: { eventsMax: number; bytesMax: number },
): Promise<Batch[]> {
  const { eventsMax, bytesMax } = options;
  const values = [requests.map((request) => request.accountId), requests.map((request) => request.afterSeq), bytesMax];
  const { rows } = await database.query<EventRow>({ ...createRead(eventsMax), values });
  const batches = new Map<string, { events: StoredEvent[]; nextBytes: number }>();
  let batch: { events: StoredEvent[]; nextBytes: number } | undefined;
  let last: string | undefined;
  for (const row of rows) {
    // The rows of a request stand together.
    if (batch === undefined || row.accountId !== last) {
      last = row.accountId;
      batch = { events: [], nextBytes: 0 };
      batches.set(last, batch);
    }
    if (row.bytes <= bytesMax) batch.events.push(toEvent(row));
    else batch.nextBytes = row.bytes;
  }
  return requests.map(({ accountId }) => batches.get(accountId) ?? { events: [], nextBytes: 0 });
}

const READ_EVENTS = {
  name: "inturn_read_events",
  text: `
    select ${COLUMNS}, ${BYTES} as bytes, e.data::text as data, e.metadata::text as metadata
    from unnest($1::text[], $2::bigint[]) as wanted (account_id, seq)
    join inturn.events as e on e.account_id = wanted.account_id and e.seq = wanted.seq`,
};

/** Reads the event after each of these seqs, whatever its size; undefined where there is none. */
export async function readNextEvents(
  database: Database,
  requests: readonly BatchRequest[],
): Promise<(StoredEvent | undefined)[]> {
  const values = [requests.map((request) => request.accountId), requests.map((request) => request.afterSeq + 1)];
  const { rows } = await database.query<EventRow>({ ...READ_EVENTS, values });
  const events = new Map(rows.map((row) => [row.accountId, toEvent(row)]));
  return requests.map((request) => events.get(request.accountId));
}
