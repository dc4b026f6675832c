/**
 * `npm run bench:memory`: what one worker takes of memory, and how long small events wait, while a thousand other accounts have
 * an event of 8 MB each that packs well; against the same without those.
 */
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type pg from "pg";
import { readSettings } from "../src/config/settings.ts";
import { startFleet } from "../src/service/fleet.ts";
import { Random } from "../test/faults/random.ts";
import { append, median, openScratch, print, type Scratch } from "./support.ts";

const LARGE = { accounts: 1_000, bytes: 8_000_000 };
const SMALL = { accounts: 1_000, perSecond: 200, seconds: 60 };
const SEND_MS = 50;
const HANDLER_MS = 10;

/** More than a run should ever take. */
const SECONDS_MAX = 600;

const { values: flags } = parseArgs({
  options: { rounds: { type: "string", default: "1" }, seed: { type: "string", default: "1" } },
});

interface Measured {
  p50Ms: number;
  p99Ms: number;
  rssMegabytes: number;
}

const scratch = await openScratch();
try {
  const without: Measured[] = [];
  const beside: Measured[] = [];
  for (let round = 0; round < Number(flags.rounds); round++) {
    without.push(await measure(scratch, 0, new Random(Number(flags.seed) + round)));
    beside.push(await measure(scratch, LARGE.accounts, new Random(Number(flags.seed) + round)));
  }
  const medianOf = (runs: Measured[], key: keyof Measured) => median(runs.map((run) => run[key]));
  const ratio = medianOf(beside, "p99Ms") / medianOf(without, "p99Ms");
  const most = Math.max(...beside.map((run) => run.rssMegabytes));
  print(`beside large events: p99 ${ratio.toFixed(2)} times that without them; the worker took ${most} MB at most`);
} finally {
  await scratch.release();
}

async function measure(from: Scratch, largeAccounts: number, random: Random): Promise<Measured> {
  await from.recreate();
  const client = await from.connect();
  for (let i = 0; i < largeAccounts; i++) {
    await client.query(
      "select from inturn.append_events(array[$1], array[to_json(repeat('inturn ', $2::integer / 7))])",
      [`large-${i}`, LARGE.bytes],
    );
  }
  const settings = {
    ...readSettings({}, { logLevel: "warn", handler: "sleep", handlerMs: HANDLER_MS, port: 0 }),
    databaseUrl: from.url,
  };
  const startedMs = performance.now();
  const fleet = await startFleet({ settings, databaseUrl: from.url, workers: 1, say: print });
  try {
    await sendSmall(client, random);
    await untilIdle(client);
    const seconds = (performance.now() - startedMs) / 1_000;
    const measured = { ...(await readWaits(client)), rssMegabytes: await readPeak(client) };
    const { p50Ms, p99Ms, rssMegabytes } = measured;
    const waits = `small ones done after ${p50Ms.toFixed(0)} ms at the median and ${p99Ms.toFixed(0)} ms at p99`;
    print(`${largeAccounts} large events in ${seconds.toFixed(0)} s: ${waits}; worker ${rssMegabytes} MB`);
    return measured;
  } finally {
    await fleet.stop();
    await client.end();
  }
}

/** Sends small events, and goes on until the large ones are done. */
async function sendSmall(client: pg.Client, random: Random): Promise<void> {
  const untilMs = performance.now() + SMALL.seconds * 1_000;
  const many = (SMALL.perSecond * SEND_MS) / 1_000;
  for (;;) {
    const accountIds = Array.from({ length: many }, () => `small-${random.int(0, SMALL.accounts - 1)}`);
    await append(
      client,
      accountIds.map((accountId) => ({ accountId, data: { at: Date.now() } })),
    );
    await sleep(SEND_MS);
    if (performance.now() < untilMs) continue;
    if (!(await exists(client, "id like 'large%' and state <> 'idle'"))) return;
    if (performance.now() > untilMs + SECONDS_MAX * 1_000) throw new Error("the large events are not done");
  }
}

async function untilIdle(client: pg.Client): Promise<void> {
  while (await exists(client, "state <> 'idle'")) await sleep(100);
}

async function exists(client: pg.Client, condition: string): Promise<boolean> {
  const { rows } = await client.query<{ exists: boolean }>(
    `select exists (select from inturn.accounts where ${condition}) as exists`,
  );
  return rows[0]?.exists === true;
}

async function readWaits(client: pg.Client): Promise<Pick<Measured, "p50Ms" | "p99Ms">> {
  const { rows } = await client.query<{ p50: number; p99: number }>(
    `select percentile_cont(0.5) within group (order by ms) as p50, percentile_cont(0.99) within group (order by ms) as p99
     from (select extract(epoch from processed_at - received_at)::float8 * 1000 as ms from inturn.events where account_id like 'small%') as e`,
  );
  return { p50Ms: rows[0]?.p50 ?? Number.NaN, p99Ms: rows[0]?.p99 ?? Number.NaN };
}

/** The most memory that the worker has had; Linux counts it. */
async function readPeak(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>("select pid from inturn.workers");
  const status = await readFile(`/proc/${rows[0]?.pid}/status`, "utf8");
  return Math.round(Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1_024);
}
