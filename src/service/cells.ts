/**
 * Making cells of databases, and looking at them.
 */
import type { Cell } from "../config/cell-settings.ts";
import { hasAccounts, type KnownCells, makeCell, readCells } from "../db/cells.ts";
import { addressOf, migrateDatabase } from "../db/migrate.ts";
import { countPending } from "../db/progress.ts";
import { type CellMap, spreadBuckets } from "../domain/cell.ts";
import { InturnError } from "../errors/error.ts";
import { toInturnError } from "../http/problem.ts";
import { requireFit } from "./cell-directory.ts";
import { overConnection } from "./connection.ts";

/** A cell that does not answer in this time is away. */
const STATEMENT_MS_MAX = 5_000;

/** How a cell is. */
export interface CellStatus {
  readonly cell: string;
  /** Host, port and database. */
  readonly database: string;
  /** `ready`, or the code of what is wrong. */
  readonly state: string;
  /** How many of the 256 buckets lie in it; null while it cannot say. */
  readonly buckets: number | null;
  /** Events that wait. */
  readonly pending: number | null;
  /** What is wrong, and what to do. */
  readonly problem: string | null;
}

/**
 * Makes these databases cells, which share the accounts evenly: migrates each, and gives each the map of buckets. What an earlier call
 * has done stays as it is, so it can be repeated after it was interrupted.
 *
 * @param say hears what a person should know
 * @returns how many were made cells; 0 when all were
 * @throws InturnError `cells_not_empty` when one has accounts, `cells_differ` when one is another cell, or has another map; then nothing
 *   is changed but for the migrations
 */
export async function initCells(cells: readonly Cell[], say: (line: string) => void): Promise<number> {
  for (const { name, url } of cells) {
    say(`Cell ${name}: ${addressOf(url)}`);
    await migrateDatabase(url, say);
  }
  const names = cells.map(({ name }) => name);
  const found = await Promise.all(cells.map(async (cell) => ({ ...cell, ...(await look(cell)) })));
  const map = found.find(({ known }) => known !== undefined)?.known?.map ?? spreadBuckets(names);
  for (const { name, known, isEmpty } of found) {
    if (known !== undefined) requireFit(name, known, names, map);
    else if (!map.includes(name)) throw isLate(name);
    else if (!isEmpty) throw notEmpty(name);
  }
  let made = 0;
  for (const { name, url } of found.filter(({ known }) => known === undefined)) {
    await overConnection({ url, name: "inturn cells" }, (database) => make(database, name, names, map));
    made += 1;
  }
  return made;
}

async function look({ url }: Cell): Promise<{ known: KnownCells | undefined; isEmpty: boolean }> {
  return await overConnection({ url, name: "inturn cells" }, async (database) => {
    const known = await readCells(database);
    return { known, isEmpty: !(await hasAccounts(database)) };
  });
}

/** Two names may stand beside two addresses of one database: what is there by now is looked at again. */
async function make(
  database: Parameters<typeof makeCell>[0],
  name: string,
  names: readonly string[],
  map: CellMap,
): Promise<void> {
  const known = await readCells(database);
  if (known !== undefined) return requireFit(name, known, names, map);
  if (!(await makeCell(database, { here: name, map }))) throw notEmpty(name);
}

function notEmpty(name: string): InturnError {
  return new InturnError(
    "cells_not_empty",
    `The database of cell ${name} has accounts already, and some would lie in another cell. Cells begin with empty databases.`,
  );
}

function isLate(name: string): InturnError {
  return new InturnError(
    "cells_differ",
    `The buckets are spread over other cells already, and ${name} is none of them: a cell cannot be added later.`,
  );
}

/** How each of these cells is. */
export async function listCells(cells: readonly Cell[]): Promise<CellStatus[]> {
  const names = cells.map(({ name }) => name);
  return await Promise.all(
    cells.map(async ({ name, url }) => {
      const status = { cell: name, database: addressOf(url) };
      try {
        const connection = { url, name: "inturn cells", statementMsMax: STATEMENT_MS_MAX };
        return await overConnection(connection, async (database) => {
          const known = await readCells(database);
          if (known === undefined) throw new InturnError("cells_differ", "It is no cell yet.");
          requireFit(name, known, names);
          const buckets = known.map.filter((cell) => cell === name).length;
          return { ...status, state: "ready", buckets, pending: await countPending(database), problem: null };
        });
      } catch (error) {
        const { code, message } = toInturnError(error);
        return { ...status, state: code, buckets: null, pending: null, problem: message };
      }
    }),
  );
}
