/**
 * The statements of a move: a bucket's accounts, with everything of them, from one cell to another.
 */
import type { Database } from "./pool.ts";

/** Accounts that are deleted together. */
const ACCOUNTS_PER_CLEANING = 200;

/** Marks a bucket as being moved; false when it does not lie here, or is being moved elsewhere. */
export async function beginMove(source: Database, bucket: number, to: string): Promise<boolean> {
  const { rowCount } = await source.query(
    `update inturn.buckets set moving_to = $2
     where bucket = $1 and is_here and not is_frozen and coalesce(moving_to, $2) = $2 and cell <> $2`,
    [bucket, to],
  );
  return rowCount === 1;
}

/** Stops the accounts of the bucket; answers how many are still running. */
export async function holdBucket(source: Database, bucket: number): Promise<number> {
  const { rows } = await source.query<{ running: number }>("select inturn.hold_bucket($1::smallint) as running", [
    bucket,
  ]);
  return rows[0]?.running ?? 0;
}

/**
 * Takes no more events for the bucket. Rejects with 55P03 when appends hold it for longer than a lock is waited for.
 *
 * @returns what lets the bucket go, as long as nobody else touches it
 */
export async function freezeBucket(source: Database, bucket: number): Promise<string> {
  const { rows } = await source.query<{ token: string | null }>("select inturn.freeze_bucket($1::smallint) as token", [
    bucket,
  ]);
  return rows[0]?.token ?? "";
}

/** Takes events of the bucket again; its accounts stay stopped. */
export async function unfreezeBucket(source: Database, bucket: number): Promise<void> {
  await source.query("update inturn.buckets set is_frozen = false where bucket = $1 and is_here", [bucket]);
}

/** Lets the accounts of the bucket go on where they are; false, and nothing is changed, when it has left. */
export async function thawBucket(source: Database, bucket: number): Promise<boolean> {
  const { rows } = await source.query<{ isHere: boolean }>(`select inturn.thaw_bucket($1::smallint) as "isHere"`, [
    bucket,
  ]);
  return rows[0]?.isHere === true;
}

/** Lets the bucket go: it lies in the other cell from now on. False when somebody has touched it since it was frozen. */
export async function leaveBucket(source: Database, bucket: number, to: string, token: string): Promise<boolean> {
  const { rowCount } = await source.query(
    `update inturn.buckets set cell = $2, epoch = epoch + 1, is_frozen = false
     where bucket = $1 and is_frozen and moving_to = $2 and xmin::text = $3`,
    [bucket, to, token],
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

/** Deletes what is here of a bucket that lies elsewhere. */
export async function cleanBucket(database: Database, bucket: number): Promise<void> {
  for (let deleted = 1; deleted > 0; ) {
    const { rows } = await database.query<{ deleted: number }>(
      "select inturn.clean_bucket($1::smallint, $2) as deleted",
      [bucket, ACCOUNTS_PER_CLEANING],
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
    `select (select count(*) from inturn.accounts as a where inturn.bucket_of(a.id) = $1) as accounts,
       count(*) as events
     from inturn.accounts as a join inturn.events as e on e.account_id = a.id where inturn.bucket_of(a.id) = $1`,
    [bucket],
  );
  return rows[0] ?? { accounts: 0, events: 0 };
}
