/**
 * Brings a database to this version: our tables, views and doors, and graphile-worker's schema.
 */
import { join } from "node:path";
import pg from "pg";
import { codeOf, isLocked, isUnavailable } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import { isReady } from "./progress.ts";

const MIGRATIONS_FOLDER = join(import.meta.dirname, "..", "..", "drizzle");

/** drizzle's migrator takes no lock, and two at once break each other. The number is arbitrary and only ours. */
const MIGRATION_LOCK = 4_917_238_002;

const POSTGRES_MAJOR_MIN = 15;

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
 * @throws InturnError `database_unavailable`, or `migration_failed` with what PostgreSQL said
 */
export async function migrateDatabase(url: string): Promise<Migrated> {
  const client = new pg.Client({ connectionString: url, application_name: "inturn migrate", keepAlive: true });
  client.on("error", () => undefined);
  try {
    await client.connect();
    const postgres = await readVersion(client);
    await client.query("select pg_advisory_lock($1)", [MIGRATION_LOCK]);
    await migrateUnderLoad(client);
    const { runMigrations: runGraphileMigrations } = await import("graphile-worker");
    await runGraphileMigrations({ connectionString: url, schema: "graphile_worker" });
    return { postgres };
  } catch (error) {
    throw explain(error, url);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Whether the tables of this version are there. */
export async function isMigrated(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, application_name: "inturn", connectionTimeoutMillis: 5_000 });
  client.on("error", () => undefined);
  try {
    await client.connect();
    return await isReady(client);
  } catch (error) {
    throw explain(error, url);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** The address without its password: what may be shown. */
export function addressOf(url: string): string {
  const { hostname, port, pathname, searchParams } = new URL(url);
  return `${hostname || searchParams.get("host") || "localhost"}:${port || "5432"}${pathname}`;
}

/**
 * A migration locks our tables one after the other, and a statement of a live worker may have locked them the other way
 * round. PostgreSQL then breaks one of the two; a broken migration has changed nothing, and is tried again.
 */
async function migrateUnderLoad(client: pg.Client): Promise<void> {
  // It takes 200 MB and half a second: no process loads it that does not migrate.
  const { drizzle } = await import("drizzle-orm/node-postgres");
  const { migrate: runDrizzleMigrations } = await import("drizzle-orm/node-postgres/migrator");
  for (let tries = 1; ; tries++) {
    try {
      return await runDrizzleMigrations(drizzle(client), { migrationsFolder: MIGRATIONS_FOLDER });
    } catch (error) {
      if (!isLocked(error) || tries === MIGRATION_TRIES_MAX) throw error;
    }
  }
}

async function readVersion(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ server_version: string }>("show server_version");
  const version = rows[0]?.server_version.split(" ")[0] ?? "unknown";
  if (Number.parseInt(version, 10) >= POSTGRES_MAJOR_MIN) return version;
  throw new InturnError(
    "migration_failed",
    `This is PostgreSQL ${version}; version ${POSTGRES_MAJOR_MIN} to 18 is needed.`,
  );
}

function explain(error: unknown, url: string): InturnError {
  if (error instanceof InturnError) return error;
  // drizzle wraps what the database said.
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const said = cause instanceof Error ? cause.message || codeOf(cause) : String(cause);
  if (isUnavailable(cause) && !isLocked(cause)) {
    return new InturnError("database_unavailable", `No PostgreSQL answers at ${addressOf(url)}: ${said}`, { cause });
  }
  return new InturnError("migration_failed", `The database at ${addressOf(url)} could not be migrated: ${said}`, {
    cause,
  });
}
