/**
 * Copies the rows of a bucket from one cell to another.
 */
import type { Database } from "./pool.ts";

/** Accounts whose rows are copied together. */
const ACCOUNTS_PER_PAGE = 500;

/** Events that are looked at together, and how many bytes of them are copied together: one larger than that goes alone. */
const EVENTS_PER_PART = 2_000;
const BYTES_PER_PART = 8_388_608;

/** What a row of an event takes beside its data, about. */
const ROW_BYTES = 200;

/** A settle may commit this long after the moment that it wrote. */
const LATE_COMMIT_SECONDS = 60;

/** The database's clock, as text. */
export async function readClock(database: Database): Promise<string> {
  const { rows } = await database.query<{ now: string }>("select clock_timestamp()::text as now");
  return rows[0]?.now ?? "";
}

/** Of which events the rows are copied. */
export interface CopyOptions {
  readonly bucket: number;
  /** Undefined: what is settled. A moment: everything that is not, and what has been settled since then. */
  readonly since?: string;
  readonly signal: AbortSignal;
  /** Hears of how many events more are copied. */
  readonly onCopied: (events: number) => void;
}

/**
 * Copies what is settled, while the accounts go on: it does not change any more, but for dead letters. Of the accounts only the ids are
 * made in the target: they hold nothing and do nothing there.
 */
export async function copySettled(source: Database, target: Database, options: CopyOptions): Promise<void> {
  const events = await lookAt(target, "events", EVENT_KEY);
  for await (const ids of pagesOf(source, options)) {
    await target.query(
      `insert into inturn.accounts (id, paused_at) select w.id, 'epoch' from unnest($1::text[]) as w (id) on conflict do nothing`,
      [ids],
    );
    await copyEvents(source, target, { ...options, ids, events });
  }
}

/** Copies the rest of a bucket that is frozen: afterwards everything is in the target as it is in the source. */
export async function copyRest(
  source: Database,
  target: Database,
  options: CopyOptions & { since: string },
): Promise<void> {
  const [accounts, attempts, events] = [
    await lookAt(target, "accounts", ["id"]),
    await lookAt(target, "attempts", ["account_id", "seq", "slot"]),
    await lookAt(target, "events", EVENT_KEY),
  ];
  for await (const ids of pagesOf(source, options)) {
    for (const table of [accounts, attempts]) {
      const { rows } = await source.query<{ row: string }>(
        `select ${table.row} as row from inturn.${table.name} as r where r.${table.key[0]} = any ($1::text[])`,
        [ids],
      );
      await target.query(table.put, [rows.map(({ row }) => row)]);
    }
    await copyEvents(source, target, { ...options, ids, events });
    // What was pruned meanwhile had been copied.
    await target.query(
      `delete from inturn.events as e using inturn.accounts as a
       where a.id = any ($1::text[]) and e.account_id = a.id and e.seq <= a.pruned_seq and e.outcome is distinct from 'dead'`,
      [ids],
    );
  }
}

async function* pagesOf(source: Database, { bucket, signal }: CopyOptions): AsyncGenerator<string[]> {
  for (let after = ""; ; ) {
    signal.throwIfAborted();
    const { rows } = await source.query<{ id: string }>(
      `select a.id from inturn.accounts as a where inturn.bucket_of(a.id) = $1 and a.id > $2 order by a.id limit ${ACCOUNTS_PER_PAGE}`,
      [bucket, after],
    );
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows.map(({ id }) => id);
    after = last.id;
  }
}

const EVENT_KEY = ["account_id", "seq"];

/** Events, in parts of bounded size. */
async function copyEvents(
  source: Database,
  target: Database,
  { ids, events, since, signal, onCopied }: CopyOptions & { ids: readonly string[]; events: CopiedTable },
): Promise<void> {
  const wanted =
    since === undefined
      ? "e.outcome is not null and $4::timestamptz is null"
      : `(e.outcome is null or e.outcome = 'dead' or e.processed_at >= $4::timestamptz - interval '${LATE_COMMIT_SECONDS} seconds')`;
  for (let after: readonly [string, number] = ["", 0]; ; ) {
    signal.throwIfAborted();
    const { rows } = await source.query<{ row: string; accountId: string; seq: number }>(
      `with looked as materialized (
         select e.account_id, e.seq, coalesce(e.bytes, 0) + ${ROW_BYTES} as bytes from inturn.events as e
         where e.account_id = any ($1::text[]) and (e.account_id, e.seq) > ($2::text, $3::bigint) and ${wanted}
         order by e.account_id, e.seq limit ${EVENTS_PER_PART}
       ), summed as materialized (
         select l.account_id, l.seq, sum(l.bytes) over (order by l.account_id, l.seq) - l.bytes as before from looked as l
       )
       select ${events.row} as row, r.account_id as "accountId", r.seq
       from summed as s join inturn.events as r on r.account_id = s.account_id and r.seq = s.seq
       where s.before < ${BYTES_PER_PART} order by s.account_id, s.seq`,
      [ids, ...after, since ?? null],
    );
    const last = rows.at(-1);
    if (last === undefined) return;
    await target.query(events.put, [rows.map(({ row }) => row)]);
    onCopied(rows.length);
    after = [last.accountId, last.seq];
  }
}

/** A table whose rows are copied as PostgreSQL writes them: every digit and every character stays. */
interface CopiedTable {
  readonly name: string;
  readonly key: readonly string[];
  /** A row `r` as text. */
  readonly row: string;
  /** Puts rows of this form in, or instead of what is there. */
  readonly put: string;
}

/** The columns come in the order that they have in the target: it reads them by that. */
async function lookAt(target: Database, name: string, key: readonly string[]): Promise<CopiedTable> {
  const { rows } = await target.query<{ column: string }>(
    `select quote_ident(a.attname) as column from pg_attribute as a
     where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum`,
    [`inturn.${name}`],
  );
  const columns = rows.map(({ column }) => column);
  const changes = columns.filter((column) => !key.includes(column)).map((column) => `${column} = excluded.${column}`);
  return {
    name,
    key,
    row: `row(${columns.map((column) => `r.${column}`).join(", ")})::text`,
    put: `insert into inturn.${name} select (w.row::inturn.${name}).* from unnest($1::text[]) as w (row)
      on conflict (${key.join(", ")}) do update set ${changes.join(", ")}`,
  };
}
