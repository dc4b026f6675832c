/**
 * The statements of a move: a bucket's accounts, with everything of them, from one cell to another.
 *
 * Each move has a token. What it writes names it, in both cells, and is refused once another move of the bucket has put its own there.
 */
import { codeOf } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import type { Database } from "./pool.ts";

/** A bucket that is being moved, and by whom. */
export interface MovedBucket {
  readonly bucket: number;
  /** The token. */
  readonly mover: string;
}

/** Accounts that are deleted together. */
const ACCOUNTS_PER_CLEANING = 200;

/** Marks a bucket as being moved; false when it does not lie here, or is being moved. */
export async function beginMove(source: Database, { bucket, mover }: MovedBucket, to: string): Promise<boolean> {
  const { rowCount } = await source.query(
    `update inturn.buckets set moving_to = $2, mover = $3
     where bucket = $1 and is_here and moving_to is null and cell <> $2`,
    [bucket, to, mover],
  );
  return rowCount === 1;
}

/** Has a cell take rows of a bucket from this mover, and from no other; false when the bucket lies there, or is about to leave. */
export async function expectBucket(target: Database, { bucket, mover }: MovedBucket): Promise<boolean> {
  const { rowCount } = await target.query(
    "update inturn.buckets set mover = $2 where bucket = $1 and not is_here and moving_to is null",
    [bucket, mover],
  );
  return rowCount === 1;
}

/** Stops the accounts of the bucket; answers how many are still running. */
export async function holdBucket(source: Database, { bucket, mover }: MovedBucket): Promise<number> {
  const rows = await asMover<{ running: number }>(source, "select inturn.hold_bucket($1::smallint, $2) as running", [
    bucket,
    mover,
  ]);
  return rows[0]?.running ?? 0;
}

/** Takes no more events for the bucket. Rejects with 55P03 when appends hold it for longer than a lock is waited for. */
export async function freezeBucket(source: Database, { bucket, mover }: MovedBucket): Promise<void> {
  await asMover(source, "select inturn.freeze_bucket($1::smallint, $2)", [bucket, mover]);
}

/** Takes events of the bucket again; its accounts stay stopped. */
export async function unfreezeBucket(source: Database, { bucket, mover }: MovedBucket): Promise<void> {
  await source.query("update inturn.buckets set is_frozen = false where bucket = $1 and mover = $2", [bucket, mover]);
}

/**
 * Lets the accounts of the bucket go on where they are.
 *
 * @param mover who gives up; null ends the move of whoever is at it
 * @returns false, and nothing is changed, when the bucket has left, or somebody else moves it
 */
export async function thawBucket(source: Database, bucket: number, mover: string | null): Promise<boolean> {
  const { rows } = await source.query<{ thawed: boolean }>("select inturn.thaw_bucket($1::smallint, $2) as thawed", [
    bucket,
    mover,
  ]);
  return rows[0]?.thawed === true;
}

/** Lets the bucket go: it lies in the other cell from now on. False when somebody else moves it. */
export async function leaveBucket(source: Database, { bucket, mover }: MovedBucket, to: string): Promise<boolean> {
  const { rowCount } = await source.query(
    `update inturn.buckets set cell = $3, epoch = epoch + 1, is_frozen = false, mover = null
     where bucket = $1 and is_frozen and mover = $2 and moving_to = $3`,
    [bucket, mover, to],
  );
  return rowCount === 1;
}

/** Takes the bucket over, unless that was done before. */
export async function arriveBucket(target: Database, bucket: number, epoch: number): Promise<void> {
  await target.query(
    `select inturn.arrive_bucket(b.bucket, $2::bigint) from inturn.buckets as b where b.bucket = $1 and b.epoch < $2::bigint`,
    [bucket, epoch],
  );
}

/** Tells a cell where a bucket lies by now. */
export async function tellBucket(other: Database, bucket: number, cell: string, epoch: number): Promise<void> {
  await other.query("update inturn.buckets set cell = $2, epoch = $3 where bucket = $1 and epoch < $3", [
    bucket,
    cell,
    epoch,
  ]);
}

/** Deletes what is here of a bucket that lies elsewhere. @param mover who has copied it here; null for what it left behind */
export async function cleanBucket(database: Database, bucket: number, mover: string | null): Promise<void> {
  for (let deleted = 1; deleted > 0; ) {
    const rows = await asMover<{ deleted: number }>(
      database,
      "select inturn.clean_bucket($1::smallint, $2, $3) as deleted",
      [bucket, mover, ACCOUNTS_PER_CLEANING],
    );
    deleted = rows[0]?.deleted ?? 0;
  }
}

/** Ends the move in the cell that the bucket has left. */
export async function endMove(source: Database, bucket: number): Promise<void> {
  await source.query("update inturn.buckets set moving_to = null where bucket = $1 and not is_here", [bucket]);
}

/** How much of a bucket there is. */
export interface BucketSize {
  readonly accounts: number;
  readonly events: number;
}

/** Counts the rows of a bucket. */
export async function sizeOfBucket(database: Database, bucket: number): Promise<BucketSize> {
  const { rows } = await database.query<BucketSize>(
    `select (select count(*) from inturn.accounts as a where inturn.bucket_of(a.id) = $1) as accounts, count(*) as events
     from inturn.accounts as a join inturn.events as e on e.account_id = a.id where inturn.bucket_of(a.id) = $1`,
    [bucket],
  );
  return rows[0] ?? { accounts: 0, events: 0 };
}

/** Runs a statement that names the mover. @throws InturnError `move_failed` when the bucket is somebody else's to move by now */
export async function asMover<Row extends object>(database: Database, text: string, values: unknown[]): Promise<Row[]> {
  try {
    return (await database.query<Row & Record<string, unknown>>(text, values)).rows;
  } catch (error) {
    if (codeOf(error) !== "IT016") throw error;
    throw new InturnError("move_failed", "Somebody else moves this bucket, too; this move has given up.", {
      cause: error,
    });
  }
}
