/**
 * Where the demo runs: in a database of its own, so that it never mixes with the user's events, nor with another demo's.
 */
import pg from "pg";
import type { Settings } from "../config/settings.ts";
import { addressOf, migrateDatabase, urlOfDatabase } from "../db/migrate.ts";
import { withSessionSettings } from "../db/session-settings.ts";
import { commandLine } from "../errors/command-line.ts";
import { InturnError } from "../errors/error.ts";
import { type ReadyDatabase, useDatabase } from "../service/database.ts";

/** A demo holds a session advisory lock of this class; the second key is its number. Arbitrary and only ours. */
const DEMO_LOCK_CLASS = 4_917_239;

/** Demos at once on one embedded server. */
const DEMOS_MAX = 100;

/**
 * Finds a database for the demo, and keeps other demos out of it until it is released: on the embedded server one of its own,
 * else the one of `DATABASE_URL`.
 *
 * @param options.say hears where it is
 * @throws InturnError `demo_running` when a demo runs in the database of `DATABASE_URL`; and what `useDatabase` throws
 */
export async function useDemoDatabase(options: {
  settings: Settings;
  say: (line: string) => void;
}): Promise<ReadyDatabase> {
  const server = await useDatabase({ ...options, migrate: true });
  const client = new pg.Client({ ...withSessionSettings(server.url), application_name: "inturn demo" });
  client.on("error", () => undefined);
  const release = async () => {
    await client.end().catch(() => undefined);
    await server.release();
  };
  try {
    await client.connect();
    if (options.settings.databaseUrl !== undefined) {
      await requireAlone(client, server.url);
      return { ...server, release };
    }
    const name = await claimDatabase(client);
    const url = urlOfDatabase(server.url, name);
    await migrateDatabase(url, options.say);
    options.say(`The demo runs in a database of its own, ${name}; ${commandLine("psql", name)} looks into it.`);
    return { ...server, url, release };
  } catch (error) {
    await release();
    throw error;
  }
}

async function requireAlone(client: pg.Client, url: string): Promise<void> {
  if (await tryLock(client, 1)) return;
  throw new InturnError("demo_running", `Another demo runs in the database at ${addressOf(url)}; wait for its end.`);
}

/** The first database that no other demo uses; it is made unless it is there. */
async function claimDatabase(client: pg.Client): Promise<string> {
  for (let number = 1; number <= DEMOS_MAX; number++) {
    if (!(await tryLock(client, number))) continue;
    const name = number === 1 ? "inturn_demo" : `inturn_demo_${number}`;
    const { rows } = await client.query("select from pg_database where datname = $1", [name]);
    if (rows.length === 0) await client.query(`create database ${name}`);
    return name;
  }
  throw new InturnError("demo_running", `${DEMOS_MAX} demos run on this server already.`);
}

async function tryLock(client: pg.Client, number: number): Promise<boolean> {
  const values = [DEMO_LOCK_CLASS, number];
  const { rows } = await client.query<{ locked: boolean }>("select pg_try_advisory_lock($1, $2) as locked", values);
  return rows[0]?.locked === true;
}
