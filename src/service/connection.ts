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
