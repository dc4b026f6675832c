import type { CellMap } from "../domain/cell.ts";
import type { Database } from "./pool.ts";

/** What a database knows of a bucket. */
export interface KnownBucket {
  readonly cell: string;
  /** How often it was moved. */
  readonly epoch: number;
  /** Where it is being moved to; in the cell that it has left, until its rows are deleted. */
  readonly movingTo: string | null;
}

/** What a database knows of cells. */
export interface KnownCells {
  /** The name of the cell that it is. */
  readonly here: string;
  /** By number. */
  readonly buckets: readonly KnownBucket[];
}

/** What this database knows of cells; undefined when it is none. */
export async function readCells(database: Database): Promise<KnownCells | undefined> {
  const { rows } = await database.query<KnownBucket & { here: string }>(
    `select cell, here, epoch, moving_to as "movingTo" from inturn.buckets order by bucket`,
  );
  const [first] = rows;
  return first && { here: first.here, buckets: rows.map(({ here: _here, ...bucket }) => bucket) };
}

/** For each bucket the cell and the epoch that is known of it by those who know most. */
export function mergeMaps(known: readonly KnownCells[]): KnownBucket[] {
  const [first, ...others] = known.map(({ buckets }) => buckets);
  return (first ?? []).map((bucket, number) => others.reduce((so, theirs) => newer(so, theirs[number] ?? so), bucket));
}

function newer(one: KnownBucket, other: KnownBucket): KnownBucket {
  return other.epoch > one.epoch ? other : one;
}

/** For each bucket its cell. */
export function mapOf(buckets: readonly KnownBucket[]): CellMap {
  return buckets.map(({ cell }) => cell);
}

/** Whether there is any account. */
export async function hasAccounts(database: Database): Promise<boolean> {
  const { rows } = await database.query<{ found: boolean }>("select exists (select from inturn.accounts) as found");
  return rows[0]?.found === true;
}

/** Makes this database a cell; false, and nothing is changed, when it has an account that would lie elsewhere. */
export async function makeCell(
  database: Database,
  { here, map, epochs = map.map(() => 0) }: { here: string; map: CellMap; epochs?: readonly number[] },
): Promise<boolean> {
  const { rows } = await database.query<{ made: boolean }>(
    "select inturn.make_cell($1, $2::text[], $3::bigint[]) as made",
    [here, map, epochs],
  );
  return rows[0]?.made === true;
}

/** The cell in which this account lies, when it is another one. */
export async function findCellElsewhere(database: Database, accountId: string): Promise<string | undefined> {
  const { rows } = await database.query<{ cell: string | null }>(
    "select f.cell from inturn.find_elsewhere(array[$1::text]) as f",
    [accountId],
  );
  return rows[0]?.cell ?? undefined;
}
