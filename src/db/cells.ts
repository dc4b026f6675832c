import type { CellMap } from "../domain/cell.ts";
import type { Database } from "./pool.ts";

/** What a database knows of cells. */
export interface KnownCells {
  /** The name of the cell that it is. */
  readonly here: string;
  readonly map: CellMap;
}

/** What this database knows of cells; undefined when it is none. */
export async function readCells(database: Database): Promise<KnownCells | undefined> {
  const { rows } = await database.query<{ cell: string; isHere: boolean }>(
    `select cell, is_here as "isHere" from inturn.buckets order by bucket`,
  );
  if (rows.length === 0) return undefined;
  return { here: rows.find(({ isHere }) => isHere)?.cell ?? "", map: rows.map(({ cell }) => cell) };
}

/** Whether there is any account. */
export async function hasAccounts(database: Database): Promise<boolean> {
  const { rows } = await database.query<{ found: boolean }>("select exists (select from inturn.accounts) as found");
  return rows[0]?.found === true;
}

/** Makes this database a cell; false, and nothing is changed, when it has accounts already. */
export async function makeCell(database: Database, { here, map }: KnownCells): Promise<boolean> {
  const { rows } = await database.query<{ made: boolean }>("select inturn.make_cell($1, $2::text[]) as made", [
    here,
    map,
  ]);
  return rows[0]?.made === true;
}

/** The cell in which this account lies, when it is another one. */
export async function findCellElsewhere(database: Database, accountId: string): Promise<string | undefined> {
  const { rows } = await database.query<{ cell: string }>(
    "select f.cell from inturn.find_elsewhere(array[$1::text]) as f",
    [accountId],
  );
  return rows[0]?.cell;
}
