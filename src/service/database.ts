import { setTimeout as sleep } from "node:timers/promises";
import { routeOf } from "../config/database-settings.ts";
import { type Settings } from "../config/settings.ts";
import { addressOf, isMigrated, migrateDatabase, requireSameDatabase } from "../db/migrate.ts";
import { useEmbeddedPostgres } from "../embedded/embedded-postgres.ts";
import { commandLine } from "../errors/command-line.ts";
import { codeOf } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import { textOf } from "../errors/text.ts";

/** A database that is ready to be used. */
export interface ReadyDatabase {
  /** PostgreSQL itself. */
  readonly url: string;
  /** A pooler in front of it. */
  readonly poolerUrl: string | undefined;
  /** The server's version; empty when it was not asked. */
  readonly postgres: string;
  /** Lets go of it; a server of our own stops with its last user. */
  release(): Promise<void>;
}

/** Between two tries to reach a database that is away: at first, and at most. */
const RETRY_MS = { first: 200, most: 5_000 };

/**
 * The database of `DATABASE_URL`, or a server of our own without it. A server of our own is always migrated.
 *
 * @param options.migrate whether to migrate somebody's own database, or to refuse one that is not
 * @param options.say hears what a person should know
 * @param options.whenAway a signal that ends the wait while somebody's own database does not answer; without it that is an
 *   error at once
 * @throws InturnError `database_not_migrated`, or what `migrateDatabase` and `useEmbeddedPostgres` throw
 */
export async function useDatabase(options: {
  settings: Settings;
  migrate: boolean;
  say: (line: string) => void;
  whenAway?: AbortSignal;
}): Promise<ReadyDatabase> {
  const { whenAway, settings } = options;
  const { databaseUrl, poolerUrl } = routeOf(settings);
  if (databaseUrl === undefined) return await useOwnServer(settings.dataFolder, options.say);
  for (let waitMs = RETRY_MS.first; ; waitMs = Math.min(2 * waitMs, RETRY_MS.most)) {
    try {
      if (poolerUrl !== undefined) await requireSameDatabase(poolerUrl, databaseUrl);
      return { ...(await prepare(databaseUrl, options)), poolerUrl };
    } catch (error) {
      const isAway = error instanceof InturnError && error.code === "database_unavailable";
      if (!isAway || whenAway === undefined) throw error;
      options.say(`${error.message}; trying again in ${waitMs / 1_000} s`);
      await sleep(waitMs, undefined, { signal: whenAway });
    }
  }
}

/** The database of the settings as it is: neither asked nor migrated, unless it is a server of our own, which is started. */
export async function findDatabase(settings: Settings, say: (line: string) => void): Promise<ReadyDatabase> {
  const { databaseUrl, poolerUrl } = routeOf(settings);
  if (databaseUrl === undefined) return await useOwnServer(settings.dataFolder, say);
  return { ...asItIs(databaseUrl), poolerUrl };
}

function asItIs(url: string): ReadyDatabase {
  return { url, poolerUrl: undefined, postgres: "", release: async () => undefined };
}

async function prepare(
  url: string,
  { migrate, say }: { migrate: boolean; say: (line: string) => void },
): Promise<ReadyDatabase> {
  if (migrate) return { ...asItIs(url), ...(await migrateDatabase(url, say)) };
  if (await isMigrated(url)) return asItIs(url);
  throw new InturnError(
    "database_not_migrated",
    `The database at ${addressOf(url)} lacks our tables of this version, or graphile-worker's. Run: ${commandLine("migrate")}`,
  );
}

/** What a folder that cannot be used makes of itself is the system's text, without a word about settings. */
function explainFolder(error: unknown, dataFolder: string): unknown {
  if (!/^E[A-Z]+$/.test(codeOf(error) ?? "")) return error;
  return new InturnError(
    "embedded_postgres_failed",
    `The folder ${dataFolder} cannot be used: ${textOf(error)}. INTURN_DATA names another one, DATABASE_URL a server of yours.`,
    { cause: error },
  );
}

async function useOwnServer(dataFolder: string, say: (line: string) => void): Promise<ReadyDatabase> {
  const server = await useEmbeddedPostgres(dataFolder).catch((error: unknown) => {
    throw explainFolder(error, dataFolder);
  });
  try {
    const { postgres } = await migrateDatabase(server.url, say);
    const how = server.reused ? "using the one that runs" : "started one";
    say(`PostgreSQL ${postgres}: ${how} in ${server.folder} (DATABASE_URL=postgres://… uses a server of yours)`);
    return { ...asItIs(server.url), postgres, release: () => server.release() };
  } catch (error) {
    await server.release();
    if (!(error instanceof InturnError) || error.code !== "migration_failed") throw error;
    throw new InturnError(error.code, `${error.message} The embedded server's data are in ${server.folder}.`, {
      cause: error,
    });
  }
}
