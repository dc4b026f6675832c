/**
 * `npm run bench:locks`: what accounts that somebody else has locked cost everybody. `--only requests` sends requests for locked
 * accounts, for some that are set free now and then, and for others that nobody locks; `--only drain` locks accounts again and
 * again while two workers settle a backlog.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type pg from "pg";
import { LOCK_MS_MAX } from "../src/db/locked.ts";
import { openDatabase } from "../src/db/pool.ts";
import type { NewEvent } from "../src/domain/event.ts";
import { type Appender, createAppender } from "../src/engine/append.ts";
import { Random } from "../test/faults/random.ts";
import { NO_CAPS, newEvent } from "../test/support/append.ts";
import { measureDrains } from "./lock-drains.ts";
import { openScratch, print } from "./support.ts";

const { values: flags } = parseArgs({
  options: {
    only: { type: "string", default: "requests,drain" },
    seed: { type: "string", default: "42" },
    /** How many accounts are locked for all the time. */
    locked: { type: "string", default: "40,10000" },
    seconds: { type: "string", default: "13" },
    events: { type: "string", default: "100000" },
    rounds: { type: "string", default: "3" },
  },
});

const NEVER_LOCKED = 1_000;
const NEVER_LOCKED_PER_SECOND = 200;

/** Sessions that lock five accounts each, for a while, again and again. */
const FREED = { sessions: 4, accounts: 5, msMin: 300, msMax: 3_000 };

const scratch = await openScratch();
const random = new Random(Number(flags.seed));
print(`seed ${flags.seed}`);
try {
  if (flags.only.includes("requests")) {
    for (const locked of flags.locked.split(",")) await measureRequests(Number(locked));
  }
  if (flags.only.includes("drain")) {
    await measureDrains({
      scratch,
      random,
      rounds: Number(flags.rounds),
      events: Number(flags.events),
      seed: Number(flags.seed),
    });
  }
} finally {
  await scratch.release();
}

async function measureRequests(locked: number): Promise<void> {
  await scratch.recreate();
  const pool = openDatabase({
    url: scratch.url,
    name: "bench",
    connectionsMax: 8,
    statementMsMax: 10_000,
    lockMsMax: LOCK_MS_MAX.append,
    onError: () => undefined,
  });
  const looks = countLooks(pool);
  const appender = createAppender(pool, NO_CAPS);
  const held = Array.from({ length: locked }, (_, i) => `held-${i}`);
  for (let i = 0; i < locked; i += 500) await appender.append(held.slice(i, i + 500).map(eventOf));
  const without = await timeNeverLocked(appender, 6_000);

  const stopMs = performance.now() + 1_000 * Number(flags.seconds);
  const holder = await scratch.connect();
  await holder.query("begin");
  await holder.query("select from inturn.accounts where id = any($1) for update", [held]);
  looks.reset();
  const [refused, freed, within] = await Promise.all([
    Promise.all(held.map((account) => timeRefusals(appender, account, stopMs))),
    Promise.all(Array.from({ length: FREED.sessions }, (_, i) => timeFreed(appender, i, stopMs))),
    timeNeverLocked(appender, stopMs - performance.now()),
  ]);
  const busy = looks.share();
  await holder.query("rollback");
  await holder.end();
  await pool.end();
  print(`\n${locked} locked accounts, a request for each all the time`);
  print(`  for locked accounts:       ${describe(refused.flat())}`);
  print(`  after an account is free:  ${describe(freed.flat())}`);
  print(`  never locked, without:     ${describe(without)}`);
  print(`  never locked, beside them: ${describe(within)}`);
  print(`  looks for locks:           ${busy}`);
}

/** One request after the other for an account that stays locked: how long each waits for its refusal. */
async function timeRefusals(appender: Appender, account: string, stopMs: number): Promise<number[]> {
  await sleep(random.int(0, 500));
  const times: number[] = [];
  while (performance.now() < stopMs) {
    const startedMs = performance.now();
    const isRefused = await appender.append([eventOf(account)]).then(
      () => false,
      () => true,
    );
    if (!isRefused) print(`a request for ${account} was stored although the account is locked`);
    times.push(performance.now() - startedMs);
  }
  return times;
}

/** How long requests wait after the end of the lock that held them up. */
async function timeFreed(appender: Appender, session: number, stopMs: number): Promise<number[]> {
  const accounts = Array.from({ length: FREED.accounts }, (_, i) => `freed-${session}-${i}`);
  await appender.append(accounts.map(eventOf));
  const client = await scratch.connect();
  const times: number[] = [];
  while (performance.now() < stopMs) {
    await client.query("begin");
    await client.query("select from inturn.accounts where id = any($1) for update", [accounts]);
    const answered = accounts.map((account) => appender.append([eventOf(account)]).then(() => performance.now()));
    await sleep(random.int(FREED.msMin, FREED.msMax));
    await client.query("commit");
    const freeMs = performance.now();
    for (const answer of answered) times.push((await answer) - freeMs);
  }
  await client.end();
  return times;
}

/** Requests at a steady pace, whatever becomes of the ones before. */
async function timeNeverLocked(appender: Appender, forMs: number): Promise<number[]> {
  const times: Promise<number>[] = [];
  const beganMs = performance.now();
  for (let n = 0; performance.now() - beganMs < forMs; n++) {
    const dueMs = beganMs + (n * 1_000) / NEVER_LOCKED_PER_SECOND;
    if (dueMs > performance.now()) await sleep(dueMs - performance.now());
    const account = `never-${random.int(1, NEVER_LOCKED)}`;
    times.push(appender.append([eventOf(account)]).then(() => performance.now() - dueMs));
  }
  return await Promise.all(times);
}

/** What the statements that look for locks take. */
function countLooks(pool: pg.Pool): { reset(): void; share(): string } {
  const query = pool.query.bind(pool) as (statement: { name?: string }) => Promise<unknown>;
  let count = 0;
  let busyMs = 0;
  let sinceMs = performance.now();
  const timed = async (statement: { name?: string }) => {
    const startedMs = performance.now();
    try {
      return await query(statement);
    } finally {
      if (statement.name === "inturn_find_locked") {
        count += 1;
        busyMs += performance.now() - startedMs;
      }
    }
  };
  pool.query = timed as unknown as typeof pool.query;
  return {
    reset() {
      [count, busyMs, sinceMs] = [0, 0, performance.now()];
    },
    share() {
      const elapsedMs = performance.now() - sinceMs;
      return `${count}, ${((100 * busyMs) / elapsedMs).toFixed(0)} % of one connection`;
    },
  };
}

function eventOf(accountId: string): NewEvent {
  return newEvent({ accountId });
}

function describe(times: readonly number[]): string {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) => `${Math.round(sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN)} ms`;
  return `${sorted.length} answers, first ${at(0)}, median ${at(0.5)}, p99 ${at(0.99)}, last ${at(1)}`;
}
