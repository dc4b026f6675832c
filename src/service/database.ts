import { type Settings } from "../config/settings.ts";
import { addressOf, isMigrated, migrateDatabase } from "../db/migrate.ts";
import { InturnError } from "../errors/error.ts";
import { useEmbeddedPostgres } from "./embedded-postgres.ts";

/** A database that is ready to be used. */
export interface ReadyDatabase {
  readonly url: string;
  /** The server's version; empty when it was not asked. */
  readonly postgres: string;
  /** Lets go of it; a server of our own stops with its last user. */
  release(): Promise<void>;
}

/**
 * The database of `DATABASE_URL`, or a server of our own without it. A server of our own is always migrated.
 *
 * @param options.migrate whether to migrate somebody's own database, or to refuse one that is not
 * @param options.say hears what a person should know
 * @throws InturnError `database_not_migrated`, or what `migrateDatabase` and `useEmbeddedPostgres` throw
 */
export async function useDatabase(options: {
  settings: Settings;
  migrate: boolean;
  say: (line: string) => void;
}): Promise<ReadyDatabase> {
  const { databaseUrl, dataFolder } = options.settings;
  if (databaseUrl === undefined) return await useOwnServer(dataFolder, options.say);
  const release = async () => undefined;
  if (options.migrate) return { url: databaseUrl, release, ...(await migrateDatabase(databaseUrl)) };
  if (await isMigrated(databaseUrl)) return { url: databaseUrl, postgres: "", release };
  throw new InturnError(
    "database_not_migrated",
    `The database at ${addressOf(databaseUrl)} lacks our tables, or graphile-worker's. Run: npm run migrate`,
  );
}

async function useOwnServer(dataFolder: string, say: (line: string) => void): Promise<ReadyDatabase> {
  const server = await useEmbeddedPostgres(dataFolder);
  try {
    const { postgres } = await migrateDatabase(server.url);
    const how = server.reused ? "using the one that runs" : "started one";
    say(`PostgreSQL ${postgres}: ${how} in ${server.folder} (DATABASE_URL=postgres://… uses a server of yours)`);
    return { url: server.url, postgres, release: () => server.release() };
  } catch (error) {
    await server.release();
    throw error;
  }
}
