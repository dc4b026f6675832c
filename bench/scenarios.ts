/**
 * What is measured. Each scenario gets an empty, migrated database and reports how many events took how long; starting
 * processes and making the backlog are not part of it.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import pg from "pg";
import { insertApiKey } from "../src/db/api-keys.ts";
import { openDatabase } from "../src/db/pool.ts";
import { runLoad } from "../src/demo/load.ts";
import { createWorkload } from "../src/domain/workload.ts";
import { createKey } from "../src/engine/access.ts";
import { startFleet } from "../src/service/fleet.ts";
import { startPgBouncer, WITHOUT_PGBOUNCER } from "../test/support/pgbouncer.ts";
import { measureBareSql } from "./bare-sql.ts";
import {
  ACCOUNTS,
  appendBacklog,
  type Measurement,
  SEED,
  settingsFor,
  untilSettled,
  WAYS_TO_DRAIN,
} from "./support.ts";

/** One thing to measure. */
export interface Scenario {
  readonly name: string;
  readonly what: string;
  /** How many events a full run takes. */
  readonly events: number;
  /** Why it cannot be measured here; false, or nothing, when it can. */
  readonly whyNot?: string | false;
  measure(url: string, events: number): Promise<Measurement>;
}

/** All of them, in the order of the report. */
export const SCENARIOS: readonly Scenario[] = [
  {
    name: "ingest-500",
    what: "HTTP ingest, arrays of 500, 4 connections, durable",
    events: 100_000,
    measure: (url, events) => measureIngest(url, { events, batch: 500, connections: 4 }),
  },
  {
    name: "ingest-1",
    what: "HTTP ingest, single events, 64 connections, durable",
    events: 40_000,
    measure: (url, events) => measureIngest(url, { events, batch: 1, connections: 64 }),
  },
  {
    name: "ingest-500-keys",
    what: "as ingest-500, with an API key and its share",
    events: 100_000,
    measure: (url, events) => measureIngest(url, { events, batch: 500, connections: 4, hasKey: true }),
  },
  {
    name: "ingest-1-keys",
    what: "as ingest-1, with an API key and its share",
    events: 40_000,
    measure: (url, events) => measureIngest(url, { events, batch: 1, connections: 64, hasKey: true }),
  },
  {
    name: "ingest-500-processes",
    what: "as ingest-500, with two API processes on one port",
    events: 100_000,
    measure: (url, events) => measureIngest(url, { events, batch: 500, connections: 4, processes: 2 }),
  },
  {
    name: "ingest-1-processes",
    what: "as ingest-1, with two API processes on one port",
    events: 40_000,
    measure: (url, events) => measureIngest(url, { events, batch: 1, connections: 64, processes: 2 }),
  },
  {
    name: "echo",
    what: "for comparison: a bare route that parses and echoes what ingest-1 sends, nothing stored",
    events: 40_000,
    measure: (_url, events) => measureEcho(events),
  },
  {
    name: "append-sql",
    what: "for comparison: `append_events`, a thousand events a statement, one connection",
    events: 100_000,
    measure: measureAppendSql,
  },
  {
    name: "drain",
    what: "2 workers settle a backlog, no-op handler",
    events: 100_000,
    measure: (url, events) => measureDrain(url, events),
  },
  {
    name: "drain-batch",
    what: "as drain, with a handler of batches of 100",
    events: 100_000,
    measure: (url, events) => measureDrain(url, events, { way: "drain-batch" }),
  },
  {
    name: "drain-ahead",
    what: "as drain, with INTURN_UNSETTLED_MAX=64",
    events: 100_000,
    measure: (url, events) => measureDrain(url, events, { way: "drain-ahead" }),
  },
  {
    name: "drain-pooler",
    what: "as drain, through PgBouncer in transaction mode",
    events: 20_000,
    whyNot: WITHOUT_PGBOUNCER,
    measure: measureDrainThroughPooler,
  },
  {
    name: "bare-sql",
    what: "for comparison: 2 connections write the rows that drain writes, one event of each account a statement",
    events: 100_000,
    measure: measureBareSql,
  },
  {
    name: "drain-watched",
    what: "as drain, while ten browsers look at the live overview",
    events: 100_000,
    measure: (url, events) => measureDrain(url, events, { viewers: 10 }),
  },
  {
    name: "end-to-end",
    what: "HTTP to settled, all at once: API, 2 workers, load generator, no-op handler",
    events: 100_000,
    measure: measureEndToEnd,
  },
];

async function measureIngest(
  url: string,
  {
    processes = 1,
    ...load
  }: { events: number; batch: number; connections: number; hasKey?: boolean; processes?: number },
): Promise<Measurement> {
  const apiKey = load.hasKey === true ? await makeKey(url) : undefined;
  const settings = settingsFor(url, { apiProcesses: processes });
  const fleet = await startFleet({ settings, databaseUrl: url, workers: 0, say: () => undefined });
  try {
    const { events, seconds } = await runLoad({ url: fleet.url, apiKey, accounts: ACCOUNTS, seed: SEED, ...load });
    return { events, seconds };
  } finally {
    await fleet.stop();
  }
}

/** A key whose share nobody reaches: what is measured is the counting. */
async function makeKey(url: string): Promise<string> {
  const database = openDatabase({ url, name: "bench", connectionsMax: 1, onError: () => undefined });
  const { id, key, hash } = createKey();
  const rest = { name: "bench", scopes: ["ingest"] as const, accountPrefix: null, eventsPerSecond: 10_000_000 };
  await insertApiKey(database, { id, hash, ...rest });
  await database.end();
  return key;
}

async function measureEcho(events: number): Promise<Measurement> {
  const echo = fork(new URL("echo.ts", import.meta.url), { stdio: "inherit" });
  const [{ url }] = (await once(echo, "message")) as [{ url: string }];
  try {
    const load = { accounts: ACCOUNTS, seed: SEED, events, batch: 1, connections: 64 };
    const { seconds } = await runLoad({ url, ...load });
    return { events, seconds };
  } finally {
    echo.kill();
    await once(echo, "exit");
  }
}

async function measureDrain(
  url: string,
  events: number,
  { viewers = 0, way = "drain", poolerUrl }: { viewers?: number; way?: string; poolerUrl?: string } = {},
): Promise<Measurement> {
  return await withClient(url, async (client) => {
    const workload = createWorkload({ events, accounts: ACCOUNTS, seed: SEED });
    await appendBacklog(client, workload.events);
    const route = poolerUrl === undefined ? {} : { databaseUrl: poolerUrl, directDatabaseUrl: url };
    const settings = { ...settingsFor(url, WAYS_TO_DRAIN[way]), ...route };
    const fleet = await startFleet({ settings, databaseUrl: url, workers: 2, say: () => undefined });
    // A short drain may be over before a page has come: all of them are open before anybody waits for its end.
    const pages = await Promise.all(Array.from({ length: viewers }, () => fetch(`${fleet.url}/live`)));
    const watching = Promise.allSettled(pages.map(readToEnd));
    try {
      await untilSettled(client, events);
    } finally {
      await fleet.stop();
    }
    await watching;
    return await readSpan(client, "min(started_at)");
  });
}

async function measureDrainThroughPooler(url: string, events: number): Promise<Measurement> {
  const pooler = await startPgBouncer(url, ["pool_mode = transaction", "default_pool_size = 20"]);
  try {
    return await measureDrain(url, events, { poolerUrl: pooler.url });
  } finally {
    pooler.stop();
  }
}

/** Reads a live page to its end, as a browser would. */
async function readToEnd({ body }: Response): Promise<void> {
  for await (const _ of body ?? []);
}

async function measureEndToEnd(url: string, events: number): Promise<Measurement> {
  return await withClient(url, async (client) => {
    const fleet = await startFleet({ settings: settingsFor(url), databaseUrl: url, workers: 2, say: () => undefined });
    try {
      await runLoad({ url: fleet.url, accounts: ACCOUNTS, seed: SEED, events, batch: 500, connections: 4 });
      await untilSettled(client, events);
    } finally {
      await fleet.stop();
    }
    return await readSpan(client, "min(received_at)");
  });
}

/** One connection appends a thousand events a statement, with nothing in front of it. */
async function measureAppendSql(url: string, events: number): Promise<Measurement> {
  return await withClient(url, async (client) => {
    const workload = createWorkload({ events, accounts: ACCOUNTS, seed: SEED });
    const startedMs = performance.now();
    await appendBacklog(client, workload.events);
    return { events, seconds: (performance.now() - startedMs) / 1_000 };
  });
}

async function withClient<Result>(url: string, work: (client: pg.Client) => Promise<Result>): Promise<Result> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** By the database's clock, which knows nothing of our polling. */
async function readSpan(client: pg.Client, from: "min(started_at)" | "min(received_at)"): Promise<Measurement> {
  const { rows } = await client.query<{ events: string; seconds: string }>(
    `select count(processed_at) as events, extract(epoch from max(processed_at) - ${from}) as seconds from inturn.events`,
  );
  return { events: Number(rows[0]?.events), seconds: Number(rows[0]?.seconds) };
}
