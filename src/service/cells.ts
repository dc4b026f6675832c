/**
 * Making cells of databases, and looking at them.
 */
import type { Cell } from "../config/cell-settings.ts";
import { type AccessTables, copyAccessTables, readAccessTables } from "../db/access-tables.ts";
import { hasAccounts, type KnownCells, makeCell, mapOf, mergeMaps, readCells } from "../db/cells.ts";
import { addressOf, migrateDatabase } from "../db/migrate.ts";
import type { Database } from "../db/pool.ts";
import { countPending } from "../db/progress.ts";
import { BUCKETS, spreadBuckets } from "../domain/cell.ts";
import { commandLine } from "../errors/command-line.ts";
import { InturnError } from "../errors/error.ts";
import { toInturnError } from "../http/problem.ts";
import { findMisfit } from "./cell-directory.ts";
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
  /** Those that are being moved from it, or of which it still has rows. */
  readonly moving: readonly number[];
  /** Events that wait. */
  readonly pending: number | null;
  /** What is wrong, and what to do. */
  readonly problem: string | null;
}

/**
 * Makes these databases cells: migrates each, and gives each the map of buckets. Empty databases share the accounts evenly; one that has
 * accounts keeps all of them at first, and a cell that comes later begins with none: buckets are moved then. What an earlier call has done
 * stays as it is, so it can be repeated after it was interrupted. A new cell gets the API keys and the sources of those that there were.
 *
 * @param say hears what a person should know
 * @returns how many were made cells; 0 when all were
 * @throws InturnError `cells_not_empty` when two have accounts, `cells_differ` when one is another cell; then nothing is changed but for
 *   the migrations
 */
export async function initCells(cells: readonly Cell[], say: (line: string) => void): Promise<number> {
  for (const { name, url } of cells) {
    say(`Cell ${name}: ${addressOf(url)}`);
    await migrateDatabase(url, say);
  }
  const found = await Promise.all(cells.map(look));
  const { map, epochs } = chooseMap(found);
  let made = 0;
  for (const { name, url } of found.filter(({ known }) => known === undefined)) {
    await overConnection({ url, name: "inturn cells" }, async (database) => {
      // Two names may stand beside two addresses of one database: what is there by now is looked at again.
      refuseMisfit(name, await readCells(database), [name, ...map]);
      if (!(await makeCell(database, { here: name, map, epochs }))) throw notEmpty(name);
    });
    made += 1;
  }
  await shareAccess(found);
  return made;
}

interface Found extends Cell {
  readonly known: KnownCells | undefined;
  readonly isEmpty: boolean;
  readonly access: AccessTables;
}

/** Those that have neither keys nor sources get them of one that has; where several have different ones a person decides. */
async function shareAccess(found: readonly Found[]): Promise<void> {
  const owners = found.filter(({ access }) => !access.isEmpty);
  const [owner] = owners;
  if (owner === undefined || new Set(owners.map(({ access }) => access.digest)).size > 1) return;
  for (const cell of found.filter(({ access }) => access.isEmpty)) await copyAccess(owner, cell);
}

/**
 * Gives all cells the API keys and the sources of one of them, and no others.
 *
 * @param from its name
 * @returns the names of the cells that had others
 * @throws InturnError `settings_invalid` when there is no such cell; database errors as they come: then some may have them
 */
export async function repairCells(cells: readonly Cell[], from: string): Promise<string[]> {
  const owner = cells.find(({ name }) => name === from);
  if (owner === undefined) throw new InturnError("settings_invalid", `INTURN_CELLS has no cell ${from}.`);
  const found = await Promise.all(cells.map(look));
  const { access } = found.find(({ name }) => name === from) ?? {};
  const others = found.filter((cell) => cell.access.digest !== access?.digest);
  for (const cell of others) await copyAccess(owner, cell);
  return others.map(({ name }) => name);
}

async function copyAccess(from: Cell, to: Cell): Promise<void> {
  await overConnection({ url: from.url, name: "inturn cells" }, async (source) => {
    await overConnection({ url: to.url, name: "inturn cells" }, (target) => copyAccessTables(source, target));
  });
}

async function look(cell: Cell): Promise<Found> {
  return await overConnection({ url: cell.url, name: "inturn cells" }, async (database) => {
    const known = await readCells(database);
    return { ...cell, known, isEmpty: !(await hasAccounts(database)), access: await readAccessTables(database) };
  });
}

function chooseMap(found: readonly Found[]): { map: readonly string[]; epochs: readonly number[] } {
  const names = found.map(({ name }) => name);
  for (const { name, known } of found) refuseMisfit(name, known, names);
  const cells = found.flatMap(({ known }) => known ?? []);
  const full = found.filter(({ known, isEmpty }) => known === undefined && !isEmpty);
  const [owner, other] = full;
  if (owner !== undefined && (other !== undefined || cells.length > 0)) throw notEmpty((other ?? owner).name);
  const merged = mergeMaps(cells);
  if (merged.length > 0) return { map: mapOf(merged), epochs: merged.map(({ epoch }) => epoch) };
  return {
    map: spreadBuckets(owner === undefined ? names : [owner.name]),
    epochs: Array.from({ length: BUCKETS }, () => 0),
  };
}

function refuseMisfit(name: string, known: KnownCells | undefined, names: readonly string[]): void {
  const misfit = known && findMisfit(name, known, names);
  if (misfit !== undefined) throw misfit;
}

function notEmpty(name: string): InturnError {
  return new InturnError(
    "cells_not_empty",
    `The database of cell ${name} has accounts already, and so has another one: an account may be in both. One cell may begin with accounts.`,
  );
}

/** How each of these cells is. */
export async function listCells(cells: readonly Cell[]): Promise<CellStatus[]> {
  const names = cells.map(({ name }) => name);
  const looked = await Promise.all(
    cells.map(async ({ name, url }): Promise<CellStatus & { digest: string | null }> => {
      const status = { cell: name, database: addressOf(url) };
      try {
        const connection = { url, name: "inturn cells", statementMsMax: STATEMENT_MS_MAX };
        return { ...status, ...(await overConnection(connection, (database) => readStatus(database, name, names))) };
      } catch (error) {
        const { code, message } = toInturnError(error);
        return { ...status, state: code, buckets: null, moving: [], pending: null, problem: message, digest: null };
      }
    }),
  );
  const first = looked.find(({ digest }) => digest !== null);
  return looked.map(({ digest, ...status }) =>
    digest === null || digest === first?.digest ? status : withOtherAccess(status, first?.cell),
  );
}

function withOtherAccess(status: CellStatus, first = ""): CellStatus {
  const problem = `Its API keys or sources are others than those of ${first}. With those of which all are to go on: ${commandLine("cells", "repair --from CELL")}`;
  return { ...status, state: "cells_differ", problem };
}

async function readStatus(
  database: Database,
  name: string,
  names: readonly string[],
): Promise<Omit<CellStatus, "cell" | "database"> & { digest: string }> {
  const known = await readCells(database);
  const misfit = findMisfit(name, known, names);
  if (misfit !== undefined) throw misfit;
  const buckets = (known?.buckets ?? []).filter(({ cell }) => cell === name).length;
  const moving = (known?.buckets ?? []).flatMap(({ movingTo }, bucket) => (movingTo === null ? [] : [bucket]));
  const { digest } = await readAccessTables(database);
  return { state: "ready", buckets, moving, pending: await countPending(database), problem: null, digest };
}
