/**
 * Copies the rows of a bucket from one cell to another.
 */
import { InturnError } from "../errors/error.ts";
import { type CopiedTable, lookAt, put } from "./copied-table.ts";
import type { MovedBucket } from "./move.ts";
import type { Database } from "./pool.ts";

/** Accounts whose rows are copied together. */
const ACCOUNTS_PER_PAGE = 500;

/** Events that are copied together at most, and how many bytes of them: one larger than that goes alone. */
const EVENTS_PER_PART = 2_000;
const BYTES_PER_PART = 8_388_608;

/** What a row of an event takes beside its data, about. */
const ROW_BYTES = 200;

/** Some events of an account: those behind `after`, up to `upto`. */
interface Range {
  readonly id: string;
  readonly after: number;
  readonly upto: number;
}

/** What a copy needs. */
export interface CopyOptions {
  readonly moved: MovedBucket;
  readonly signal: AbortSignal;
  /** Hears of how many events more are copied. */
  readonly onCopied: (events: number) => void;
}

/**
 * Copies what is settled, while the accounts go on: it does not change any more, for verbs are refused while a bucket is moved. Of the
 * accounts only the ids are made in the target: they hold nothing and do nothing there.
 *
 * @returns for each account up to which seq its events are copied
 */
export async function copySettled(
  source: Database,
  target: Database,
  options: CopyOptions,
): Promise<ReadonlyMap<string, number>> {
  const settled = new Map<string, number>();
  const events = await lookAt(target, "events", ["account_id", "seq"]);
  for await (const page of pagesOf(source, options)) {
    await put(
      target,
      options.moved,
      "insert into inturn.accounts (id, paused_at) select w.id, 'epoch' from unnest($3::text[]) as w (id) cross join mine on conflict do nothing",
      page.map(({ id }) => id),
    );
    const ranges = page.map(({ id, processedSeq }) => ({ id, after: 0, upto: processedSeq }));
    await copyEvents(source, target, { ...options, events, ranges });
    for (const { id, processedSeq } of page) settled.set(id, processedSeq);
    // What has been pruned meanwhile is not compared.
    const kept = await source.query<{ id: string; prunedSeq: number }>(
      `select a.id, a.pruned_seq as "prunedSeq" from inturn.accounts as a where a.id = any ($1::text[])`,
      [page.map(({ id }) => id)],
    );
    const compared = kept.rows.map(({ id, prunedSeq }) => ({ id, after: prunedSeq, upto: settled.get(id) ?? 0 }));
    await compare(source, target, compared);
  }
  return settled;
}

/**
 * Copies the rest of a bucket that is frozen: afterwards everything is in the target as it is in the source.
 *
 * @param options.settled what was copied before
 * @throws InturnError `move_failed` when it is not
 */
export async function copyRest(
  source: Database,
  target: Database,
  options: CopyOptions & { settled: ReadonlyMap<string, number> },
): Promise<void> {
  const [accounts, attempts, events] = [
    await lookAt(target, "accounts", ["id"]),
    await lookAt(target, "attempts", ["account_id", "seq", "slot"]),
    await lookAt(target, "events", ["account_id", "seq"]),
  ];
  for await (const page of pagesOf(source, options)) {
    const ids = page.map(({ id }) => id);
    for (const table of [accounts, attempts]) {
      const { rows } = await source.query<{ row: string }>(
        `select ${table.row} as row from inturn.${table.name} as r where r.${table.key[0]} = any ($1::text[])`,
        [ids],
      );
      await put(
        target,
        options.moved,
        table.put,
        rows.map(({ row }) => row),
      );
    }
    const ranges = page.map(({ id, lastSeq }) => ({ id, after: options.settled.get(id) ?? 0, upto: lastSeq }));
    await copyEvents(source, target, { ...options, events, ranges });
    await compare(source, target, ranges);
    // What was pruned after it had been copied.
    await put(
      target,
      options.moved,
      `delete from inturn.events as e using inturn.accounts as a cross join mine
       where a.id = any ($3::text[]) and e.account_id = a.id and e.seq <= a.pruned_seq and e.outcome is distinct from 'dead'`,
      ids,
    );
  }
}

interface AccountToCopy {
  readonly id: string;
  readonly processedSeq: number;
  readonly lastSeq: number;
}

async function* pagesOf(source: Database, { moved: { bucket }, signal }: CopyOptions): AsyncGenerator<AccountToCopy[]> {
  for (let after = ""; ; ) {
    signal.throwIfAborted();
    const { rows } = await source.query<AccountToCopy>(
      `select a.id, a.processed_seq as "processedSeq", a.last_seq as "lastSeq" from inturn.accounts as a
       where inturn.bucket_of(a.id) = $1 and a.id > $2 order by a.id limit ${ACCOUNTS_PER_PAGE}`,
      [bucket, after],
    );
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows;
    after = last.id;
  }
}

interface EventCopy extends CopyOptions {
  readonly events: CopiedTable;
  readonly ranges: readonly Range[];
}

async function copyEvents(source: Database, target: Database, { ranges, ...copy }: EventCopy): Promise<void> {
  for (const part of partsOf(ranges, EVENTS_PER_PART)) await copyPart(source, target, part, copy);
}

/** In halves where it is too large: how large, the rows say. */
async function copyPart(
  source: Database,
  target: Database,
  part: readonly Range[],
  copy: Omit<EventCopy, "ranges">,
): Promise<void> {
  copy.signal.throwIfAborted();
  const seqs = countSeqs(part);
  const { rows } = await source.query<{ bytes: number }>(
    `select coalesce(sum(coalesce(r.bytes, 0) + ${ROW_BYTES}), 0)::bigint as bytes from ${IN_RANGES}`,
    valuesOf(part),
  );
  if (seqs > 1 && (rows[0]?.bytes ?? 0) > BYTES_PER_PART) {
    for (const half of partsOf(part, Math.ceil(seqs / 2))) await copyPart(source, target, half, copy);
    return;
  }
  const { rows: copied } = await source.query<{ row: string }>(
    `select ${copy.events.row} as row from ${IN_RANGES}`,
    valuesOf(part),
  );
  await put(
    target,
    copy.moved,
    copy.events.put,
    copied.map(({ row }) => row),
  );
  copy.onCopied(copied.length);
}

/** The events `r` of ranges that are parameters: by one look-up each. */
const IN_RANGES = `unnest($1::text[], $2::bigint[], $3::bigint[]) as w (id, after, upto)
  cross join lateral (
    select * from inturn.events as e where e.account_id = w.id and e.seq > w.after and e.seq <= w.upto offset 0
  ) as r`;

function valuesOf(ranges: readonly Range[]): unknown[] {
  return [ranges.map(({ id }) => id), ranges.map(({ after }) => after), ranges.map(({ upto }) => upto)];
}

function countSeqs(ranges: readonly Range[]): number {
  return ranges.reduce((sum, { after, upto }) => sum + Math.max(0, upto - after), 0);
}

/** The same events in parts of so many seqs at most. */
function* partsOf(ranges: readonly Range[], seqsMax: number): Generator<Range[]> {
  let part: Range[] = [];
  let room = seqsMax;
  for (const { id, after: first, upto } of ranges) {
    for (let after = first; after < upto; ) {
      const end = Math.min(upto, after + room);
      part.push({ id, after, upto: end });
      room -= end - after;
      after = end;
      if (room > 0) continue;
      yield part;
      part = [];
      room = seqsMax;
    }
  }
  if (part.length > 0) yield part;
}

/** @throws InturnError `move_failed` when these events are not in both: as many, with the same seqs */
async function compare(source: Database, target: Database, ranges: readonly Range[]): Promise<void> {
  const [there, here] = await Promise.all(
    [source, target].map(async (database) => {
      const { rows } = await database.query<{ events: number; seqs: number }>(
        `select count(*) as events, coalesce(sum(r.seq), 0)::bigint as seqs from ${IN_RANGES}`,
        valuesOf(ranges),
      );
      return JSON.stringify(rows[0]);
    }),
  );
  if (there === here) return;
  throw new InturnError(
    "move_failed",
    `The copy is not what it was made of: ${there} became ${here}; the bucket stays.`,
  );
}
