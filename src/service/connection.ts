import { type Cell, cellsOf } from "../config/cell-settings.ts";
import type { Settings } from "../config/settings.ts";
import { type KnownCells, mapOf, mergeMaps, readCells } from "../db/cells.ts";
import { type Database, openDatabase } from "../db/pool.ts";
import { cellOf } from "../engine/bucket.ts";
import { InturnError } from "../errors/error.ts";
import { toInturnError } from "../http/problem.ts";
import { useDatabase } from "./database.ts";

/** A piece of work at a database. */
interface ConnectionOptions {
  readonly settings: Settings;
  /** Shown in `pg_stat_activity`. */
  readonly name: string;
  /** Hears what a person should know. */
  readonly say: (line: string) => void;
  /** Longest time of one statement. */
  readonly statementMsMax?: number;
}

/** Does one piece of work over a connection of its own, at whichever database the settings name, and lets go of it. */
export async function withConnection<Result>(
  options: ConnectionOptions,
  work: (database: Database) => Promise<Result>,
): Promise<Result> {
  const database = await useDatabase({ settings: options.settings, migrate: false, say: options.say });
  try {
    return await overConnection({ ...options, url: database.url }, work);
  } finally {
    await database.release();
  }
}

/** The same at the database where an account lies: its cell's, where there are cells and the settings name none. */
export async function withConnectionOf<Result>(
  accountId: string,
  options: ConnectionOptions,
  work: (database: Database) => Promise<Result>,
): Promise<Result> {
  if (cellsOf(options.settings) === undefined) return await withConnection(options, work);
  const known: KnownCells[] = [];
  await inEachCell(options, readCells, (told) => known.push(...told.flatMap(({ result }) => result ?? []))).catch(
    (error: unknown) => {
      if (known.length === 0) throw error;
    },
  );
  const map = mapOf(mergeMaps(known));
  if (map.length === 0) throw new InturnError("cells_differ", "No database of INTURN_CELLS is a cell yet.");
  return await withConnection(inCell(options, cellOf(map, accountId)), work);
}

/**
 * The same in every cell, one after the other; in the one database where there are no cells. All have to be there before anything is
 * done.
 *
 * @returns what came of it in each
 */
export async function inEveryCell<Result>(
  options: ConnectionOptions,
  work: (database: Database) => Promise<Result>,
): Promise<[Result, ...Result[]]> {
  const cells = cellsOf(options.settings);
  if (cells === undefined) return [await withConnection(options, work)];
  return (await whenAllAreThere(cells, [])) as [Result, ...Result[]];

  async function whenAllAreThere([next, ...others]: readonly Cell[], there: readonly Database[]): Promise<Result[]> {
    if (next !== undefined) {
      return await withConnection(inCell(options, next.name), async (database) => {
        await database.query("select");
        return await whenAllAreThere(others, [...there, database]);
      });
    }
    const results: Result[] = [];
    for (const database of there) results.push(await work(database));
    return results;
  }
}

/** What came of it in a cell; in the one database where there are none. */
export interface InCell<Result> {
  readonly cell: string | undefined;
  readonly result: Result;
}

/**
 * The same in every cell, side by side. One that is away keeps nobody from the others.
 *
 * @param show hears of those where it was done; then what failed in another one is thrown
 */
export async function inEachCell<Result>(
  options: ConnectionOptions,
  work: (database: Database, cell: string | undefined) => Promise<Result>,
  show: (done: readonly InCell<Result>[]) => void,
): Promise<void> {
  const cells = cellsOf(options.settings);
  const workIn = async (of: ConnectionOptions, cell: string | undefined) =>
    await withConnection(of, (database) => work(database, cell));
  if (cells === undefined) return show([{ cell: undefined, result: await workIn(options, undefined) }]);
  const answers = await Promise.allSettled(cells.map(({ name }) => workIn(inCell(options, name), name)));
  const done: InCell<Result>[] = [];
  const failed: InturnError[] = [];
  for (const [i, { name }] of cells.entries()) {
    const answer = answers[i];
    if (answer?.status === "fulfilled") done.push({ cell: name, result: answer.value });
    else failed.push(ofCell(name, toInturnError(answer?.reason)));
  }
  if (done.length > 0) show(done);
  const [first, ...others] = failed;
  for (const { message } of others) options.say(message);
  if (first !== undefined) throw first;
}

function ofCell(name: string, error: InturnError): InturnError {
  return new InturnError(error.code, `Cell ${name}: ${error.message}`, { data: error.data, cause: error });
}

function inCell(options: ConnectionOptions, cell: string): ConnectionOptions {
  return { ...options, settings: { ...options.settings, cell } };
}

/** Does one piece of work over a connection of its own to this database. */
export async function overConnection<Result>(
  options: { url: string; name: string; statementMsMax?: number },
  work: (database: Database) => Promise<Result>,
): Promise<Result> {
  const { url, name, statementMsMax } = options;
  const limits = statementMsMax === undefined ? {} : { statementMsMax };
  const connection = openDatabase({ url, name, ...limits, connectionsMax: 1, onError: () => undefined });
  try {
    return await work(connection);
  } finally {
    await connection.end();
  }
}
