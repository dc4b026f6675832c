/**
 * `npm run bench:pause`: everything is paused under load on four workers, one of which is stopped and woken meanwhile; then it goes on
 * with a rate. How long the answer takes, how many handlers start after it, and how many start in each second of the rate.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type pg from "pg";
import { readSettings } from "../src/config/settings.ts";
import { endPause } from "../src/db/pauses.ts";
import { openDatabase } from "../src/db/pool.ts";
import { beginPause } from "../src/engine/pause.ts";
import { startFleet } from "../src/service/fleet.ts";
import { openScratch, print } from "./support.ts";

const { values: flags } = parseArgs({
  options: {
    accounts: { type: "string", default: "1000" },
    workers: { type: "string", default: "4" },
    seconds: { type: "string", default: "10" },
    rate: { type: "string", default: "100" },
    "handler-ms": { type: "string", default: "20" },
  },
});

const MS = Number(flags.seconds) * 1_000;
const RATE = Number(flags.rate);
const everything = { covers: "all", value: "", who: "bench" } as const;

const folder = mkdtempSync(join(tmpdir(), "inturn-pause-"));
const calls = join(folder, "calls");
const handler = join(folder, "handler.mjs");
writeFileSync(
  handler,
  `
import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
export default async () => {
  appendFileSync(${JSON.stringify(calls)}, Date.now() + " " + process.pid + "\\n");
  await sleep(${Number(flags["handler-ms"])});
};`,
);

const scratch = await openScratch();
try {
  await scratch.recreate();
  await measure();
} finally {
  rmSync(folder, { recursive: true });
  await scratch.release();
}

async function measure(): Promise<void> {
  const settings = { ...readSettings({}, { logLevel: "error", handler, port: 0 }), databaseUrl: scratch.url };
  const workers = Number(flags.workers);
  const fleet = await startFleet({ settings, databaseUrl: scratch.url, workers, say: () => undefined });
  const client = await scratch.connect();
  const database = openDatabase({ url: scratch.url, name: "bench", connectionsMax: 2, onError: () => undefined });
  const over = new AbortController();
  const load = sendUntil(client, over.signal);
  try {
    await sleep(3_000);
    const { rows } = await database.query<{ pid: number }>("select pid from inturn.workers order by pid");
    const stopped = rows[0]?.pid ?? 0;
    process.kill(stopped, "SIGSTOP");
    const beganMs = Date.now();
    const begun = await beginPause(database, everything);
    const answeredMs = Date.now();
    print(
      `answered after ${answeredMs - beganMs} ms: ${begun.unconfirmed.length} workers not confirmed, ${begun.inHand} events in hand`,
    );
    await sleep(MS / 2);
    process.kill(stopped, "SIGCONT");
    await sleep(MS / 2);
    const started = readCalls().filter(({ atMs }) => atMs > answeredMs);
    print(`handler starts in the ${MS / 1_000} s after the answer: ${started.length}`);
    await endPause(database, { ...everything, rate: RATE });
    const resumedMs = Date.now();
    await sleep(MS + 1_000);
    const perSecond = Array.from({ length: MS / 1_000 }, (_, i) => {
      const fromMs = resumedMs + 1_000 * (i + 1);
      return readCalls().filter(({ atMs }) => atMs >= fromMs && atMs < fromMs + 1_000).length;
    });
    print(`handler starts per second at --rate ${RATE}, from the second second on: ${perSecond.join(" ")}`);
  } finally {
    over.abort();
    await load;
    await database.end();
    await client.end();
    await fleet.stop();
  }
}

/** More than the workers can do: there is always a backlog. */
async function sendUntil(client: pg.Client, signal: AbortSignal): Promise<void> {
  const ids = Array.from({ length: Number(flags.accounts) }, (_, i) => `a${i}`);
  while (!signal.aborted) {
    await client.query("select from inturn.append_events($1::text[], array_fill('{}'::json, array[$2::integer]))", [
      ids,
      ids.length,
    ]);
    await sleep(100);
  }
}

function readCalls(): { atMs: number; pid: number }[] {
  return readFileSync(calls, "utf8")
    .trim()
    .split("\n")
    .map((line) => {
      const [atMs, pid] = line.split(" ");
      return { atMs: Number(atMs), pid: Number(pid) };
    });
}
