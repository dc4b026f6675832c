/**
 * Where the demo runs: in a database of its own, so that it never mixes with the user's events, nor with another demo's.
 */
import { join } from "node:path";
import pg from "pg";
import type { Settings } from "../config/settings.ts";
import { addressOf, migrateDatabase, urlOfDatabase } from "../db/migrate.ts";
import { withSessionSettings } from "../db/session-settings.ts";
import { commandLine } from "../errors/command-line.ts";
import { InturnError } from "../errors/error.ts";
import { initCells } from "../service/cells.ts";
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
 * @param options.hasFolder whether its data is elsewhere than commands look for it
 * @throws InturnError `demo_running` when a demo runs in the database of `DATABASE_URL`; and what `useDatabase` throws
 */
export async function useDemoDatabase(options: {
  settings: Settings;
  say: (line: string) => void;
  hasFolder?: boolean;
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
    const look = `${options.hasFolder === true ? `INTURN_DATA=${options.settings.dataFolder} ` : ""}${commandLine("psql", name)}`;
    options.say(`The demo runs in a database of its own, ${name}; ${look} looks into it.`);
    return { ...server, url, release };
  } catch (error) {
    await release();
    throw error;
  }
}

/** Databases for a demo with cells, each on an embedded server of its own. */
export interface DemoCells {
  /** With the cells. */
  readonly settings: Settings;
  readonly urls: readonly string[];
  readonly postgres: string;
  release(): Promise<void>;
}

/**
 * Makes cells for the demo: embedded servers side by side, which stop with it.
 *
 * @param options.cells how many
 * @throws InturnError `settings_invalid` when the settings name a database; what `useDemoDatabase` and `initCells` throw
 */
export async function useDemoCells(options: {
  settings: Settings;
  cells: number;
  say: (line: string) => void;
}): Promise<DemoCells> {
  const { settings, say } = options;
  if (settings.databaseUrl !== undefined || settings.cells !== undefined) {
    throw new InturnError(
      "settings_invalid",
      "--cells makes databases of its own: unset DATABASE_URL and INTURN_CELLS.",
    );
  }
  const names = Array.from({ length: options.cells }, (_, i) => String.fromCodePoint(A + i));
  const servers: ReadyDatabase[] = [];
  const release = async () => {
    await Promise.all(servers.map((server) => server.release()));
  };
  try {
    for (const name of names) {
      const dataFolder = join(settings.dataFolder, `cells-${names.length}`, name);
      servers.push(await useDemoDatabase({ settings: { ...settings, dataFolder }, say, hasFolder: true }));
    }
    const urls = servers.map(({ url }) => url);
    const cells = names.map((name, i) => ({ name, url: urls[i] ?? "" }));
    await initCells(cells, () => undefined);
    const setting = cells.map(({ name, url }) => `${name}=${url}`).join(",");
    return { settings: { ...settings, cells: setting }, urls, postgres: servers[0]?.postgres ?? "", release };
  } catch (error) {
    await release();
    throw error;
  }
}

const A = 0x61;

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
