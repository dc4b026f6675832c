/**
 * What the benchmarks share: a database of their own, and a median.
 */
import pg from "pg";
import { readSettings } from "../src/config/settings.ts";
import { migrateDatabase } from "../src/db/migrate.ts";
import { useDatabase } from "../src/service/database.ts";

/** A database for measurements, on the server of `DATABASE_URL` or the embedded one. */
export interface Scratch {
  url: string;
  /** Makes the database anew, with our schema and no rows. */
  recreate(): Promise<void>;
  connect(): Promise<pg.Client>;
  /** Drops the database. */
  release(): Promise<void>;
}

/** Finds or starts the server. The database exists after the first `recreate`. */
export async function openScratch(): Promise<Scratch> {
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const server = await useDatabase({ settings: readSettings(process.env), migrate: false, say });
  const url = new URL(server.url);
  url.pathname = "/inturn_bench";
  const administer = async (statement: string) => {
    const client = await open(server.url);
    await client.query(statement);
    await client.end();
  };
  return {
    url: url.href,
    recreate: async () => {
      await administer("drop database if exists inturn_bench with (force)");
      await administer("create database inturn_bench");
      await migrateDatabase(url.href);
    },
    connect: () => open(url.href),
    release: async () => {
      await administer("drop database if exists inturn_bench with (force)");
      await server.release();
    },
  };
}

async function open(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}

/** The middle value; `NaN` of none. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
