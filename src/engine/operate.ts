/**
 * The operator's verbs, from wherever they come: the account's row says whether they may be carried out, and this waits
 * for what takes a moment.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Operated, type Operation, operate } from "../db/operate.ts";
import type { Database } from "../db/pool.ts";
import { findAccount } from "../db/results.ts";
import { isLocked } from "../errors/database.ts";

/** An account that somebody else holds is waited for. */
const LOCKED_MS_MAX = 5_000;

/** The answer to `pause` waits this long for the event in hand. */
const PAUSED_MS_MAX = 10_000;

/** Between two looks at an account. */
const LOOK_MS = 25;

/**
 * Carries out a verb. After the answer to `pause` no event of the account starts; only if the event in hand takes longer
 * than ten seconds does the answer come before its end, and then it says `running`.
 *
 * @throws InturnError what `operate` throws; the lock time-out of an account that somebody else held for too long
 */
export async function carryOutVerb(database: Database, operation: Operation): Promise<Operated> {
  const operated = await onceUnlocked(() => operate(database, operation));
  if (operation.verb !== "pause" || operated.state !== "running") return operated;
  return { ...operated, state: await untilRested(database, operation.accountId) };
}

async function onceUnlocked<Result>(work: () => Promise<Result>): Promise<Result> {
  const startedMs = performance.now();
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isLocked(error) || performance.now() - startedMs > LOCKED_MS_MAX) throw error;
      await sleep(LOOK_MS);
    }
  }
}

async function untilRested(database: Database, accountId: string): Promise<string> {
  const startedMs = performance.now();
  for (;;) {
    const state = (await findAccount(database, accountId))?.state ?? "idle";
    if (state !== "running" || performance.now() - startedMs > PAUSED_MS_MAX) return state;
    await sleep(LOOK_MS);
  }
}
