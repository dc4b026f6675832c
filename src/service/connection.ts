import { cellsOf } from "../config/cell-settings.ts";
import type { Settings } from "../config/settings.ts";
import { type Database, openDatabase } from "../db/pool.ts";
import { useDatabase } from "./database.ts";

/**
 * Does one piece of work over a connection of its own, at whichever database the settings name, and lets go of it.
 *
 * @param options.name shown in `pg_stat_activity`
 * @param options.say hears what a person should know
 * @param options.statementMsMax longest time of one statement
 */
export async function withConnection<Result>(
  options: { settings: Settings; name: string; say: (line: string) => void; statementMsMax?: number },
  work: (database: Database) => Promise<Result>,
): Promise<Result> {
  const database = await useDatabase({ settings: options.settings, migrate: false, say: options.say });
  try {
    return await overConnection({ ...options, url: database.url }, work);
  } finally {
    await database.release();
  }
}

/**
 * The same in every cell, one after the other; in the one database where there are no cells. All have to be there before anything is
 * done.
 *
 * @returns what came of it in each
 */
export async function inEveryCell<Result>(
  { settings, ...options }: { settings: Settings; name: string; say: (line: string) => void },
  work: (database: Database) => Promise<Result>,
): Promise<[Result, ...Result[]]> {
  const cells = cellsOf(settings);
  if (cells === undefined) return [await withConnection({ settings, ...options }, work)];
  for (const { name } of cells) await withCell(name, (database) => database.query("select"));
  const results: Result[] = [];
  for (const { name } of cells) results.push(await withCell(name, work));
  return results as [Result, ...Result[]];

  async function withCell<Answer>(cell: string, ask: (database: Database) => Promise<Answer>): Promise<Answer> {
    return await withConnection({ settings: { ...settings, cell }, ...options }, ask);
  }
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
