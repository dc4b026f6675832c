/**
 * What the benchmarks share: a database of their own, and a median.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { readSettings, type SettingOverrides, type Settings } from "../src/config/settings.ts";
import { migrateDatabase, urlOfDatabase } from "../src/db/migrate.ts";
import type { WorkloadEvent } from "../src/domain/workload.ts";
import { useDatabase } from "../src/service/database.ts";
import { Random } from "../test/faults/random.ts";

/** Whose events are measured, unless told. */
export const ACCOUNTS = 1_000;

/** One measurement. */
export interface Measurement {
  readonly events: number;
  readonly seconds: number;
}

/** Of the load. */
export const SEED = 42;

/** The module of a handler that wants a hundred events together. */
export const BATCH_HANDLER: string = fileURLToPath(new URL("batch-handler.ts", import.meta.url));

/** Settings of a fleet that does nothing with its events, unless told. */
export function settingsFor(url: string, others: SettingOverrides = {}): Settings {
  const settings = readSettings({}, { logLevel: "warn", handler: "sleep", handlerMs: 0, port: 0, ...others });
  return { ...settings, databaseUrl: url };
}

/** How a fleet settles a backlog: as it does by itself, a batch at a time, or ahead of its settles. */
export const WAYS_TO_DRAIN: Readonly<Record<string, SettingOverrides>> = {
  drain: {},
  "drain-batch": { handler: BATCH_HANDLER },
  "drain-ahead": { unsettledMax: 64 },
};

/** A database for measurements, on the server of `DATABASE_URL` or the embedded one. */
export interface Scratch {
  url: string;
  /** Makes the database anew, with our schema and no rows. */
  recreate(): Promise<void>;
  connect(): Promise<pg.Client>;
  /** Drops the database. */
  release(): Promise<void>;
}

/**
 * Finds or starts the server. The database exists after the first `recreate`.
 *
 * @param options.isEmpty whether it stays without our schema
 * @param options.serverUrl of a server that runs
 */
export async function openScratch({
  isEmpty = false,
  serverUrl,
}: {
  isEmpty?: boolean;
  serverUrl?: string;
} = {}): Promise<Scratch> {
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const settings = readSettings({ ...process.env, ...(serverUrl !== undefined && { DATABASE_URL: serverUrl }) });
  const server = await useDatabase({ settings, migrate: false, say });
  const url = urlOfDatabase(server.url, "inturn_bench");
  const administer = async (statement: string) => {
    const client = await open(server.url);
    await client.query(statement);
    await client.end();
  };
  return {
    url: url,
    recreate: async () => {
      await administer("drop database if exists inturn_bench with (force)");
      await administer("create database inturn_bench");
      if (!isEmpty) await migrateDatabase(url);
    },
    connect: () => open(url),
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

/** Appends events, a thousand at a time, while no worker runs. */
export async function appendBacklog(client: pg.Client, events: readonly WorkloadEvent[]): Promise<void> {
  for (let start = 0; start < events.length; start += 1_000) {
    const part = events.slice(start, start + 1_000);
    await append(
      client,
      part.map(({ accountId, n }) => ({ accountId, data: { n } })),
    );
  }
}

/** Appends these events in one statement. */
export async function append(client: pg.Client, events: readonly { accountId: string; data: object }[]): Promise<void> {
  const values = [events.map(({ accountId }) => accountId), events.map(({ data }) => JSON.stringify(data))];
  await client.query("select from inturn.append_events($1::text[], $2::json[])", values);
}

/** Between two statements of {@link sendSteadily}. */
const SEND_MS = 50;

/** Appends events of accounts at random, at a steady rate, until the signal aborts. */
export async function sendSteadily(
  client: pg.Client,
  load: { accounts: number; perSecond: number },
  signal: AbortSignal,
): Promise<void> {
  const random = new Random(1);
  const many = (load.perSecond * SEND_MS) / 1_000;
  for (let nextMs = performance.now(); !signal.aborted; nextMs += SEND_MS) {
    const accountIds = Array.from({ length: many }, () => `account-${random.int(1, load.accounts)}`);
    await append(
      client,
      accountIds.map((accountId) => ({ accountId, data: {} })),
    );
    await sleep(Math.max(0, nextMs + SEND_MS - performance.now()));
  }
}

/** Resolves when so many events are settled. */
export async function untilSettled(client: pg.Client, events: number): Promise<void> {
  for (;;) {
    const { rows } = await client.query<{ settled: string }>(
      "select sum(processed_seq) as settled from inturn.accounts",
    );
    if (Number(rows[0]?.settled) >= events) return;
    await sleep(100);
  }
}

/** A line of the report. */
export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
