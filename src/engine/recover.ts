/**
 * Recovery: what others left behind is found and put right. Each pass is one function that a test can call; `every` is
 * the loop.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Database } from "../db/pool.ts";
import { RECONCILE_ACCOUNTS_MAX, reconcileOnce, sweepJobs, wakeForgotten } from "../db/reconcile.ts";
import { listHeldLeases } from "../db/workers.ts";
import type { Log } from "../log/log.ts";
import type { WorkerMetrics } from "../metrics/worker-metrics.ts";
import type { Ledger } from "./ledger.ts";
import { createPruning } from "./prune.ts";

/** Between two passes, at least. */
const RECONCILE_INTERVAL_MS = 400;

/** Looking for forgotten accounts rests three times as long as it took: on a huge backlog it costs a quarter of one connection at most. */
const REST_PER_WORK = 3;

/** A lease this old belongs to a turn, or to nobody. */
const STRAY_MS = 1_000;

/** Between two sweeps of graphile-worker's jobs. */
const SWEEP_MS = 60_000;

/** How a loop goes on, and how it ends. */
export interface LoopOptions {
  readonly signal: AbortSignal;
  readonly log: Log;
  /** The wait after a pass that failed. */
  readonly onErrorMs: number;
}

/**
 * Calls `pass` again and again until the signal aborts. A pass answers how long to wait for the next one. One that
 * fails is logged and tried again: a loop of recovery that can die is no recovery.
 */
export async function every(options: LoopOptions & { name: string }, pass: () => Promise<number>): Promise<void> {
  const { signal, log, name, onErrorMs } = options;
  while (!signal.aborted) {
    const waitMs = await pass().catch((error: unknown) => {
      log.warn({ err: error }, `${name} failed; trying again in ${onErrorMs} ms`);
      return onErrorMs;
    });
    await sleep(waitMs, undefined, { signal }).catch(() => undefined);
  }
}

/** Runs the reconciler once and says what it put right. Returns the ms to wait before the next pass. */
export async function reconcilePass(options: {
  database: Database;
  log: Log;
  buries: boolean;
  metrics?: WorkerMetrics;
}): Promise<number> {
  const { database, log, buries, metrics } = options;
  const reconciled = await reconcileOnce(database, { buries });
  metrics?.tookOver(reconciled.takenOver);
  metrics?.settled("dead", null, reconciled.unparked);
  if (Object.values(reconciled).some((count) => count > 0)) log.warn(reconciled, "put right what was left behind");
  // A full pass has left something over.
  return Math.max(reconciled.takenOver, reconciled.unparked) >= RECONCILE_ACCOUNTS_MAX ? 0 : RECONCILE_INTERVAL_MS;
}

/**
 * The loops of a worker that need to know nothing of it: each resolves when the signal aborts.
 *
 * @param options.keepDays how long settled events are kept; 0 keeps them for ever
 */
export function keepUp(options: LoopOptions & { database: Database; keepDays: number }): Promise<void>[] {
  const { database, keepDays, ...loop } = options;
  return [
    every({ ...loop, name: "waking the forgotten" }, () => wakePass({ database, log: loop.log })),
    every({ ...loop, name: "sweeping jobs" }, () => sweepJobs(database).then(() => SWEEP_MS)),
    every({ ...loop, name: "pruning" }, createPruning({ database, keepDays })),
  ];
}

/** Wakes the forgotten once. Returns the ms to wait before the next pass. */
async function wakePass(options: { database: Database; log: Log }): Promise<number> {
  const startedMs = performance.now();
  const woken = await wakeForgotten(options.database);
  if (woken > 0) options.log.warn({ woken }, "woke accounts whose wake-up had got lost");
  if (woken >= RECONCILE_ACCOUNTS_MAX) return 0;
  return Math.max(RECONCILE_INTERVAL_MS, REST_PER_WORK * (performance.now() - startedMs));
}

/**
 * Gives back what the database says this worker holds and the worker knows nothing of: a claim whose answer was lost may
 * commit after everybody has stopped waiting for it. Returns how many there were.
 */
export async function giveBackStrays(options: {
  database: Database;
  ledger: Ledger;
  workerId: string;
  isInHand: (accountId: string) => boolean;
}): Promise<number> {
  const held = await listHeldLeases(options.database, options.workerId, STRAY_MS);
  const strays = held.filter(({ accountId }) => !options.isInHand(accountId));
  const end = { startedSeq: null, failure: null, forgives: false };
  const givenBack = Promise.allSettled(strays.map((lease) => options.ledger.giveBack({ ...lease, ...end })));
  // A stray that somebody has locked must not keep anybody from recovery.
  if (strays.length > 0) await Promise.race([givenBack, sleep(STRAY_MS)]);
  return strays.length;
}
