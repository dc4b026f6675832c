/**
 * `npm run bench:growth`: what grows with the number of accounts, with the backlog, and with the rate. Linux only: times and memory come
 * from /proc.
 */
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type pg from "pg";
import type { SettingOverrides } from "../src/config/settings.ts";
import { createWorkload } from "../src/domain/workload.ts";
import { startFleet } from "../src/service/fleet.ts";
import { Random } from "../test/faults/random.ts";
import { readCpuSeconds } from "./cpu.ts";
import { post } from "./post.ts";
import { append, appendBacklog, openScratch, print, SEED, sendSteadily, settingsFor, untilSettled } from "./support.ts";

const { values: flags } = parseArgs({
  options: {
    only: { type: "string", default: "accounts,backlog,cold,latency" },
    accounts: { type: "string", default: "1000,100000,1000000" },
    pending: { type: "string", default: "1000000" },
    rates: { type: "string", default: "100,500,1000,3000" },
    seconds: { type: "string", default: "20" },
  },
});

const SECONDS = Number(flags.seconds);

/** Before a measurement begins: what a new process compiles is no part of it. */
const WARM_UP_SECONDS = 5;

/** Between two handfuls of cold accounts. */
const COLD_MS = 50;

const scratch = await openScratch();
const parts: Readonly<Record<string, () => Promise<void>>> = {
  accounts: async () => {
    for (const accounts of flags.accounts.split(",").map(Number)) await measureAccounts(accounts);
  },
  backlog: async () => await measureBacklog(Number(flags.pending)),
  cold: measureCold,
  latency: async () => {
    for (const rate of flags.rates.split(",").map(Number)) await measureLatency(rate);
  },
};
try {
  for (const name of flags.only.split(",")) {
    if (parts[name] === undefined) throw new Error(`there is no ${name}; there are ${Object.keys(parts).join(", ")}`);
    await parts[name]();
  }
} finally {
  await scratch.release();
}
process.exit();

/** An empty database, two workers and an API, while `body` runs. */
async function withFleet(
  how: { prepare?: (client: pg.Client) => Promise<void>; settings?: SettingOverrides },
  body: (client: pg.Client, url: string) => Promise<void>,
): Promise<void> {
  await scratch.recreate();
  const client = await scratch.connect();
  await how.prepare?.(client);
  const settings = settingsFor(scratch.url, how.settings);
  const fleet = await startFleet({ settings, databaseUrl: scratch.url, workers: 2, say: () => undefined });
  try {
    await body(client, fleet.url);
  } finally {
    await fleet.stop();
    await client.end();
  }
}

/** The same rate over ever more accounts, each of which has an event behind it. */
async function measureAccounts(accounts: number): Promise<void> {
  const prepare = async (client: pg.Client) => {
    await client.query(
      "insert into inturn.accounts (id, last_seq, processed_seq, state) select 'account-' || n, 1, 1, 'idle' from generate_series(1, $1::integer) as n",
      [accounts],
    );
    await client.query(
      `insert into inturn.events (account_id, seq, data, received_at, started_at, processed_at, outcome, attempts)
       select 'account-' || n, 1, '{}', now(), now(), now(), 'processed', 1 from generate_series(1, $1::integer) as n`,
      [accounts],
    );
    await client.query("vacuum analyze inturn.accounts, inturn.events");
    await client.query("checkpoint");
  };
  await withFleet({ prepare }, async (client) => {
    const over = new AbortController();
    const sender = await scratch.connect();
    const sending = sendSteadily(sender, { accounts, perSecond: 500 }, over.signal);
    await sleep(WARM_UP_SECONDS * 1_000);
    const first = await read(client);
    await sleep(SECONDS * 1_000);
    const last = await read(client);
    over.abort();
    await sending;
    await sender.end();
    const events = last.settled - first.settled;
    const microseconds = (part: "api" | "workers" | "postgres") =>
      ((1e6 * (last[part] - first[part])) / events).toFixed(0);
    const { rows } = await client.query<{ size: string }>(
      "select pg_size_pretty(sum(pg_total_relation_size(c)))  as size from unnest(array['inturn.accounts', 'inturn.events']::regclass[]) as c",
    );
    const cost = `API ${microseconds("api")}, workers ${microseconds("workers")}, PostgreSQL ${microseconds("postgres")} us`;
    print(
      `${accounts} accounts, ${(events / SECONDS).toFixed(0)} events/s: ${cost} for an event; tables ${rows[0]?.size}`,
    );
    print(`  memory of the API and the workers at most: ${(await readPeaks()).join(", ")} MB`);
  });
}

/** A long backlog, and the memory of those who drain it. */
async function measureBacklog(pending: number): Promise<void> {
  const { events } = createWorkload({ events: pending, accounts: 1_000, seed: SEED });
  await withFleet({ prepare: (client) => appendBacklog(client, events) }, async (client) => {
    const startedMs = performance.now();
    await untilSettled(client, pending);
    const seconds = (performance.now() - startedMs) / 1_000;
    print(`${pending} pending events of 1000 accounts: drained with ${(pending / seconds).toFixed(0)} events/s`);
    print(`  memory of the API and the workers at most: ${(await readPeaks()).join(", ")} MB`);
  });
}

/** Accounts with one event beside one with very many, whose handler takes 10 ms. */
async function measureCold(): Promise<void> {
  const hot = Array.from({ length: 100_000 }, (_, i) => ({ accountId: "hot", n: i + 1 }));
  const how = { prepare: (client: pg.Client) => appendBacklog(client, hot), settings: { handlerMs: 10 } };
  await withFleet(how, async (client) => {
    await sleep(WARM_UP_SECONDS * 1_000);
    const sender = await scratch.connect();
    for (let n = 1; n <= 1_000; n += 10) {
      const accountIds = Array.from({ length: 10 }, (_, i) => `cold-${n + i}`);
      await append(
        sender,
        accountIds.map((accountId) => ({ accountId, data: {} })),
      );
      await sleep(COLD_MS);
    }
    await sleep(1_000);
    await sender.end();
    print(`1000 cold accounts beside one of 100000 events: started after ${await readWaits(client, "cold-%")}`);
  });
}

/** Single requests at a steady rate: from the moment when an event is stored to the start of its handler. */
async function measureLatency(perSecond: number): Promise<void> {
  await withFleet({}, async (client, url) => {
    const random = new Random(1);
    const stopMs = performance.now() + (WARM_UP_SECONDS + SECONDS) * 1_000;
    const underWay = new Set<Promise<void>>();
    let sent = 0;
    const startedMs = performance.now();
    while (performance.now() < stopMs) {
      for (; sent < ((performance.now() - startedMs) / 1_000) * perSecond; sent += 1) {
        const isWarm = performance.now() - startedMs > WARM_UP_SECONDS * 1_000;
        const accountId = `${isWarm ? "warm" : "early"}-${random.int(1, 1_000)}`;
        const posting = post(`${url}/v1/events`, { accountId, data: {} }).finally(() => underWay.delete(posting));
        underWay.add(posting);
      }
      await sleep(2);
    }
    await Promise.all(underWay);
    await untilSettled(client, sent);
    print(`${perSecond} single POSTs a second: started after ${await readWaits(client, "warm-%")}`);
  });
}

async function read(client: pg.Client) {
  const { rows } = await client.query<{ settled: string }>("select sum(processed_seq) as settled from inturn.accounts");
  return { settled: Number(rows[0]?.settled), ...(await readCpuSeconds(client)) };
}

async function readWaits(client: pg.Client, accounts: string): Promise<string> {
  const { rows } = await client.query<{ p50: number; p99: number; events: string }>(
    `select percentile_cont(0.5) within group (order by wait_ms) as p50, percentile_cont(0.99) within group (order by wait_ms) as p99,
       count(wait_ms) as events
     from inturn.event_results where account_id like $1`,
    [accounts],
  );
  const { p50 = Number.NaN, p99 = Number.NaN, events = "0" } = rows[0] ?? {};
  return `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms (${events} events)`;
}

/** The most memory that each child of this process has had, in MB. */
async function readPeaks(): Promise<number[]> {
  const peaks: number[] = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
    const numberOf = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0);
    const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (numberOf("PPid") === process.pid && /\0(serve|work)\0/.test(command))
      peaks.push(Math.round(numberOf("VmHWM") / 1_024));
  }
  return peaks;
}
