/**
 * `npm run bench:snapshot`: what PostgreSQL's processes take of the CPU for each thousand events while somebody keeps an old
 * snapshot open: a transaction that reads, or one that was forgotten. With `--statements` also which statements take it. Linux only: the
 * times come from /proc.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type pg from "pg";
import { startFleet } from "../src/service/fleet.ts";
import { readCpuSeconds } from "./cpu.ts";
import { openCounting, printStatements, resetStatements } from "./statements.ts";
import { print, sendSteadily, settingsFor } from "./support.ts";

const LOAD = { accounts: 1_000, perSecond: 500 };

/** How long each measurement takes. */
const WINDOW_SECONDS = 10;

const { values: flags } = parseArgs({
  options: {
    seconds: { type: "string", default: "40,120,600" },
    workers: { type: "string", default: "2" },
    statements: { type: "boolean", default: false },
  },
});

const scratch = await openCounting(flags.statements);
try {
  await scratch.recreate();
  const client = await scratch.connect();
  const settings = settingsFor(scratch.url);
  const workers = Number(flags.workers);
  const fleet = await startFleet({ settings, databaseUrl: scratch.url, workers, say: print });
  const stop = new AbortController();
  const sending = sendSteadily(client, LOAD, stop.signal);
  const looker = await scratch.connect();
  const snapshot = await scratch.connect();
  try {
    await sleep(WINDOW_SECONDS * 1_000);
    const before = await measure(looker, "before");
    const startedMs = performance.now();
    await snapshot.query("begin isolation level repeatable read");
    await snapshot.query("select 1");
    for (const seconds of flags.seconds.split(",").map(Number)) {
      await sleep(Math.max(0, startedMs + (seconds - WINDOW_SECONDS / 2) * 1_000 - performance.now()));
      await measure(looker, `after ${seconds} s`, before);
    }
    await snapshot.query("commit");
    await sleep(30_000);
    await measure(looker, "30 s after its end", before);
  } finally {
    stop.abort();
    await sending;
    await fleet.stop();
    await Promise.all([client, looker, snapshot].map((each) => each.end()));
  }
} finally {
  await scratch.release();
}

/** The CPU time for a thousand events, in seconds. */
async function measure(client: pg.Client, when: string, before?: number): Promise<number> {
  const first = await read(client);
  if (flags.statements) await resetStatements(client);
  await sleep(WINDOW_SECONDS * 1_000);
  const last = await read(client);
  const events = last.settled - first.settled;
  if (flags.statements) await printStatements(client, when, events);
  const seconds = ((last.cpuSeconds - first.cpuSeconds) / events) * 1_000;
  const ratio = before === undefined ? "" : `, ${(seconds / before).toFixed(2)} times`;
  const rate = `${Math.round(events / WINDOW_SECONDS)} events/s, ${last.pending} wait`;
  print(`${when}: ${seconds.toFixed(3)} s of CPU for 1,000 events${ratio} (${rate})`);
  return seconds;
}

async function read(client: pg.Client): Promise<{ settled: number; pending: number; cpuSeconds: number }> {
  const { rows } = await client.query<{ settled: string; pending: string }>(
    "select sum(processed_seq) as settled, sum(last_seq - processed_seq) as pending from inturn.accounts",
  );
  const [settled, pending] = [Number(rows[0]?.settled), Number(rows[0]?.pending)];
  return { settled, pending, cpuSeconds: (await readCpuSeconds(client)).postgres };
}
