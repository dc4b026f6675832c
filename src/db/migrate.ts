/**
 * Brings a database to this version: our tables, functions and views, and graphile-worker's schema.
 *
 * `drizzle-kit migrate` applies the same files and writes the same table, `inturn.migrations`. We apply them ourselves because
 * its migrator takes no lock, wants to create schemas that are there already, and takes 200 MB and half a second to load.
 */
import { join } from "node:path";
import { readMigrationFiles } from "drizzle-orm/migrator";
import pg from "pg";
import { codeOf, isForbidden, isLocked, isOutOfResources, isReadOnly, isUnavailable } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import { inMigration } from "./migration-lock.ts";
import { openDatabase } from "./pool.ts";
import { isRefusedByPooler, MARK, poolerError, requireMark } from "./pooler.ts";
import { readReadiness } from "./progress.ts";
import { type DatabaseAddress, withSessionSettings } from "./session-settings.ts";

const MIGRATIONS_FOLDER = join(import.meta.dirname, "..", "..", "drizzle");

/** The versions of PostgreSQL that we test with. */
export const POSTGRES_MAJORS = { least: 15, most: 18 } as const;

/** A migration that met a deadlock is tried this often. */
const MIGRATION_TRIES_MAX = 10;

/** The database of a migration. */
export interface Migrated {
  /** The server's version, such as `18.4`. */
  readonly postgres: string;
}

/**
 * Migrates the database at `url`, under a lock: any number of processes may do so at once, and again at any time.
 *
 * @param say hears what takes long; by default nobody
 * @throws InturnError `database_unavailable`, or `migration_failed` with what PostgreSQL said
 */
export async function migrateDatabase(
  url: DatabaseAddress,
  say: (line: string) => void = () => undefined,
): Promise<Migrated> {
  return await withClient(url, { application_name: "inturn migrate", keepAlive: true }, async (client) => {
    const postgres = await readVersion(client, url);
    await requireKnown(client);
    await migrateUnderLoad(client, say);
    // Apart from our own: a worker that waits for our tables may hold graphile-worker's, and nobody would see the deadlock.
    await inMigration(client, say, () => migrateGraphileWorker(url));
    return { postgres };
  });
}

async function migrateGraphileWorker(url: DatabaseAddress): Promise<void> {
  const { runMigrations } = await import("graphile-worker");
  const pgPool = new pg.Pool({ ...withSessionSettings(url), max: 1 });
  const ignore = () => undefined;
  pgPool.on("error", ignore).on("connect", (client) => client.on("error", ignore));
  try {
    await runMigrations({ pgPool, schema: "graphile_worker" });
  } finally {
    await pgPool.end();
  }
}

/** When the newest migration of this version was made, in ms since 1970. */
export function newestMigrationMs(): number {
  return Math.max(
    ...readMigrationFiles({ migrationsFolder: MIGRATIONS_FOLDER }).map(({ folderMillis }) => folderMillis),
  );
}

/**
 * Whether the tables of this version are there; they may be of a newer one that this program can work with.
 *
 * @throws InturnError `database_too_new` when it cannot
 */
export async function isMigrated(url: DatabaseAddress): Promise<boolean> {
  return await withClient(url, { application_name: "inturn", connectionTimeoutMillis: 5_000 }, async (client) => {
    await requireKnown(client);
    const { isMigrated: isThere } = await readReadiness(client);
    return isThere;
  });
}

/**
 * Whether a pooler leads to the database that it stands in front of.
 *
 * @throws InturnError `settings_invalid` when it leads to another one, `database_unavailable`
 */
export async function requireSameDatabase(poolerUrl: DatabaseAddress, url: DatabaseAddress): Promise<void> {
  const [through, direct] = await Promise.all([poolerUrl, url].map(readIdentity));
  if (through === direct) return;
  throw new InturnError(
    "settings_invalid",
    `DATABASE_URL (${addressOf(poolerUrl)}) and INTURN_DIRECT_DATABASE_URL (${addressOf(url)}) lead to two databases; they have to lead to one.`,
  );
}

/** The server, since it was started last, and the database; in a way that needs no session. */
async function readIdentity(address: DatabaseAddress): Promise<string | undefined> {
  const how = { url: address, pooler: address, name: "inturn", connectionsMax: 1, onError: () => undefined };
  const database = openDatabase(how);
  try {
    const { rows } = await database.query<{ identity: string }>(
      `select concat_ws(' ', pg_postmaster_start_time(), oid, datname) as identity
       from pg_database where datname = current_database()`,
    );
    return rows[0]?.identity;
  } catch (error) {
    throw explain(error, address);
  } finally {
    await database.end();
  }
}

/** Does work over a connection of its own, and says what an error means. */
async function withClient<Result>(
  url: DatabaseAddress,
  options: pg.ClientConfig,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = new pg.Client({ ...withSessionSettings(url, MARK), ...options });
  client.on("error", () => undefined);
  try {
    await client.connect();
    await requireMark(client);
    return await work(client);
  } catch (error) {
    throw explain(error, url);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** The address without its password: what may be shown. */
export function addressOf(url: DatabaseAddress): string {
  // pg reads addresses that URL does not: those of a socket.
  const { host, port, database = "" } = new pg.Client(url);
  return `${host}:${port}/${database}`;
}

/** The address of another database on the same server. */
export function urlOfDatabase(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}

/**
 * A migration locks our tables one after the other, and a statement of a live worker may have locked them the other way
 * round. PostgreSQL then breaks one of the two; a broken migration has changed nothing, and is tried again.
 */
async function migrateUnderLoad(client: pg.Client, say: (line: string) => void): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await inMigration(client, say, () => applyMigrations(client));
    } catch (error) {
      if (!isLocked(error) || tries === MIGRATION_TRIES_MAX) throw error;
    }
  }
}

/** Applies every migration that is newer than the last one applied, as drizzle's own migrator does. */
async function applyMigrations(client: pg.Client): Promise<void> {
  const { rows: found } = await client.query<{ schema: boolean; list: boolean }>(
    "select to_regnamespace('inturn') is not null as schema, to_regclass('inturn.migrations') is not null as list",
  );
  // Only what is missing: whoever owns everything of ours need not be allowed to create a schema.
  if (found[0]?.schema !== true) await client.query("create schema inturn");
  if (found[0]?.list !== true) {
    await client.query("create table inturn.migrations (id serial primary key, hash text not null, created_at bigint)");
  }
  const { rows } = await client.query<{ last: string | null }>("select max(created_at) as last from inturn.migrations");
  const last = Number(rows[0]?.last ?? 0);
  for (const { folderMillis, hash, sql } of readMigrationFiles({ migrationsFolder: MIGRATIONS_FOLDER })) {
    if (folderMillis <= last) continue;
    for (const statement of sql) await client.query(statement);
    await client.query("insert into inturn.migrations (hash, created_at) values ($1, $2)", [hash, folderMillis]);
  }
}

/** @throws InturnError `database_too_new` when the tables are of a version that takes away what this program needs */
async function requireKnown(client: pg.Client): Promise<void> {
  const { rows: found } = await client.query<{ says: boolean }>(
    "select to_regproc('inturn.oldest_program') is not null as says",
  );
  // The first release did not say.
  if (found[0]?.says !== true) return;
  const { rows } = await client.query<{ oldest: string }>("select inturn.oldest_program() as oldest");
  const [known, oldest] = [newestMigrationMs(), Number(rows[0]?.oldest)];
  if (known >= oldest) return;
  throw new InturnError(
    "database_too_new",
    `The database was migrated by a newer version. It needs a program that knows its migration of ${toDate(oldest)}, and this one knows none after ${toDate(known)}: upgrade it.`,
  );
}

function toDate(ms: number): string {
  return new Date(ms).toISOString().slice(0, 16);
}

/** @throws InturnError when the server is too old, or a standby */
async function readVersion(client: pg.Client, url: DatabaseAddress): Promise<string> {
  const { rows } = await client.query<{ version: string; standby: boolean }>(
    "select current_setting('server_version') as version, pg_is_in_recovery() as standby",
  );
  const version = rows[0]?.version.split(" ")[0] ?? "unknown";
  if (Number.parseInt(version, 10) < POSTGRES_MAJORS.least) {
    throw new InturnError(
      "migration_failed",
      `This is PostgreSQL ${version}; version ${POSTGRES_MAJORS.least} to ${POSTGRES_MAJORS.most} is needed.`,
    );
  }
  if (rows[0]?.standby !== true) return version;
  throw new InturnError(
    "database_unavailable",
    `The database at ${addressOf(url)} is a standby, which only reads. Use the address of its primary.`,
  );
}

function explain(error: unknown, url: DatabaseAddress): InturnError {
  if (error instanceof InturnError) return error;
  const said = error instanceof Error ? sayError(error) : String(error);
  if (isRefusedByPooler(error)) return poolerError(said);
  if (isUnavailable(error) && !isLocked(error)) {
    return new InturnError("database_unavailable", `${sayState(error, addressOf(url))}: ${said}`, { cause: error });
  }
  if (isForbidden(error)) {
    const text = `The role of this process may not do this in the database at ${addressOf(url)}: ${said}`;
    return new InturnError("role_not_permitted", text, { cause: error });
  }
  return new InturnError("migration_failed", `The database at ${addressOf(url)} could not be migrated: ${said}`, {
    cause: error,
  });
}

function sayState(error: unknown, address: string): string {
  if (isReadOnly(error)) return `The database at ${address} is read-only`;
  return isOutOfResources(error)
    ? `The database at ${address} is out of resources`
    : `No PostgreSQL answers at ${address}`;
}

function sayError(error: Error): string {
  const { hint } = error as pg.DatabaseError;
  return [error.message || codeOf(error), hint].filter(Boolean).join(". ");
}
