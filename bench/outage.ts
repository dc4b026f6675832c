/**
 * `npm run bench:outage`: two targets, one of which is away in the middle of a run. What the outage costs its own accounts and those of
 * the other target, against the same run without one: real processes, an event every few milliseconds, 3 attempts.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type pg from "pg";
import { readSettings } from "../src/config/settings.ts";
import { startFleet } from "../src/service/fleet.ts";
import { Random } from "../test/faults/random.ts";
import { openScratch, print, type Scratch, untilSettled } from "./support.ts";

const { values: flags } = parseArgs({
  options: {
    accounts: { type: "string", default: "1000" },
    events: { type: "string", default: "10000" },
    seconds: { type: "string", default: "100" },
    "away-seconds": { type: "string", default: "60" },
    workers: { type: "string", default: "2" },
    /** Whether the handler knows the error: then it says so; else failures have to show it. */
    says: { type: "boolean", default: false },
    seed: { type: "string", default: "1" },
  },
});

const ACCOUNTS = Number(flags.accounts);
const EVENTS = Number(flags.events);
const AWAY = { fromMs: 20_000, forMs: Number(flags["away-seconds"]) * 1_000 };
const SEND_MS = 50;

const folder = mkdtempSync(join(tmpdir(), "inturn-outage-"));
const files = { handler: join(folder, "handler.mjs"), away: join(folder, "away"), calls: join(folder, "calls") };

/** Notes each call: when, of which account, and whether its target was away. */
const HANDLER = `
import { appendFileSync, existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { TargetAwayError } from "inturn";
export const eventTypes = { "pay.*": { target: "stripe" }, "mail.*": { target: "mail" } };
export default async ({ accountId, seq, type }) => {
  const startedMs = Date.now();
  await sleep(10);
  const isAway = type === "pay.made" && existsSync(${JSON.stringify(files.away)});
  appendFileSync(${JSON.stringify(files.calls)}, JSON.stringify({ startedMs, endedMs: Date.now(), accountId, seq, type, isAway }) + "\\n");
  if (isAway) throw ${flags.says === true ? 'new TargetAwayError("stripe")' : 'new Error("connect ECONNREFUSED 127.0.0.1:1")'};
};`;

interface Call {
  readonly startedMs: number;
  readonly endedMs: number;
  readonly accountId: string;
  readonly seq: number;
  readonly type: string;
  readonly isAway: boolean;
}

const scratch = await openScratch();
try {
  writeFileSync(files.handler, HANDLER);
  const without = await measure(scratch, false);
  const during = await measure(scratch, true);
  print(`without an outage: mail waited p50 ${without.p50} ms, p99 ${without.p99} ms`);
  print(
    `with one of ${AWAY.forMs / 1_000} s: mail waited p50 ${during.p50} ms, p99 ${during.p99} ms (${(during.p99 / without.p99).toFixed(2)} times)`,
  );
} finally {
  rmSync(folder, { recursive: true });
  await scratch.release();
}

async function measure(from: Scratch, hasOutage: boolean): Promise<{ p50: number; p99: number }> {
  await from.recreate();
  rmSync(files.calls, { force: true });
  const settings = {
    ...readSettings({}, { logLevel: "error", handler: files.handler, port: 0, attemptsMax: 3, backoffMs: 1_000 }),
    databaseUrl: from.url,
  };
  const fleet = await startFleet({
    settings,
    databaseUrl: from.url,
    workers: Number(flags.workers),
    say: () => undefined,
  });
  const client = await from.connect();
  try {
    const [, awayFromMs] = await Promise.all([sendAll(client), hasOutage ? makeOutage() : Promise.resolve(0)]);
    await untilSettled(client, EVENTS);
    if (hasOutage) await report(client, awayFromMs);
    const { rows } = await client.query<{ wait: [number, number] }>(
      "select percentile_cont(array[0.5, 0.99]) within group (order by wait_ms) as wait from inturn.event_results where type = 'mail.sent'",
    );
    const [p50 = 0, p99 = 0] = (rows[0]?.wait ?? []).map(Math.round);
    return { p50, p99 };
  } finally {
    await client.end();
    await fleet.stop();
  }
}

/** At an even rate, of random accounts; an account has one target. */
async function sendAll(client: pg.Client): Promise<void> {
  const random = new Random(Number(flags.seed));
  const perTick = (EVENTS * SEND_MS) / (Number(flags.seconds) * 1_000);
  const startedMs = performance.now();
  for (let sent = 0, tick = 1; sent < EVENTS; tick++) {
    const upTo = Math.min(EVENTS, Math.round(tick * perTick));
    const accounts = Array.from({ length: upTo - sent }, () => random.int(0, ACCOUNTS - 1));
    sent = upTo;
    const ids = accounts.map((account) => `a${account}`);
    const types = accounts.map((account) => (account % 2 === 0 ? "pay.made" : "mail.sent"));
    await client.query(
      "select from inturn.append_events($1::text[], array_fill('{}'::json, array[$2::integer]), $3::text[])",
      [ids, ids.length, types],
    );
    await sleep(Math.max(0, startedMs + tick * SEND_MS - performance.now()));
  }
}

async function makeOutage(): Promise<number> {
  await sleep(AWAY.fromMs);
  writeFileSync(files.away, "");
  const awayFromMs = Date.now();
  await sleep(AWAY.forMs);
  rmSync(files.away);
  return awayFromMs;
}

async function report(client: pg.Client, awayFromMs: number): Promise<void> {
  const calls = readFileSync(files.calls, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Call);
  const failed = calls.filter(({ isAway }) => isAway).toSorted((a, b) => a.startedMs - b.startedMs);
  const { rows } = await client.query<{ dead: number; blocked: number; disorder: number }>(`
    select (select count(*)::integer from inturn.dead_letters) as dead,
      (select count(*)::integer from inturn.account_results where state = 'blocked') as blocked,
      (select count(*)::integer from inturn.order_violations) as disorder`);
  // What failed before the target was known to be away, in one go; each call after a pause is a probe.
  const probes = failed.filter((call, i) => i > 0 && call.startedMs - (failed[i - 1]?.endedMs ?? 0) > 500);
  const opening = failed.length - probes.length;
  const backMs = awayFromMs + AWAY.forMs;
  const after = calls
    .filter((call) => call.type === "pay.made" && call.startedMs >= backMs)
    .toSorted((a, b) => a.startedMs - b.startedMs);
  const [works, next] = after;
  const overlapping = probes.filter((probe) =>
    failed.some((call) => call !== probe && call.startedMs < probe.endedMs && probe.startedMs < call.endedMs),
  );
  const seconds = (ms: number) => (ms / 1_000).toFixed(1);
  print(`blocked ${rows[0]?.blocked}, dead letters ${rows[0]?.dead}, out of order ${rows[0]?.disorder}`);
  print(
    `attempts that failed before the target was open: ${opening}, within ${seconds((failed[opening - 1]?.endedMs ?? 0) - awayFromMs)} s`,
  );
  print(
    `probes that failed: ${probes.length}, at once with another call: ${overlapping.length}, after ${probes.map((probe) => seconds(probe.startedMs - awayFromMs)).join(", ")} s`,
  );
  print(
    `the probe that worked: ${seconds((works?.startedMs ?? 0) - backMs)} s after the target was back; the next event ${seconds((next?.startedMs ?? 0) - (works?.endedMs ?? 0))} s after it`,
  );
  const last = after.findLast((call) => call.startedMs < backMs + 600_000);
  print(`the last event of the target ended ${seconds((last?.endedMs ?? 0) - backMs)} s after it was back`);
}
