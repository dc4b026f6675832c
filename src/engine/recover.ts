/**
 * Recovery of what workers that are gone left behind. Each pass is one function that a test can call; `every` is
 * the loop.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { wakeOperations } from "../db/bulk-operations.ts";
import type { Database } from "../db/pool.ts";
import { RECONCILE_ACCOUNTS_MAX, type ReconcileOptions, reconcileOnce } from "../db/reconcile.ts";
import { sweepJobs } from "../db/wake-ups.ts";
import { listHeldLeases } from "../db/workers.ts";
import type { Log } from "../log/log.ts";
import type { WorkerMetrics } from "../metrics/worker-metrics.ts";
import type { Ledger } from "./ledger.ts";
import { createPruning } from "./prune.ts";

/** Between two passes, at least. */
export const RECONCILE_INTERVAL_MS = 400;

/** A lease that is older than this belongs to a turn; if no turn has it, its claim was lost. */
const UNKNOWN_LEASE_MS = 1_000;

/** Between two sweeps of graphile-worker's jobs. */
const SWEEP_JOBS_MS = 60_000;

/** Between two looks for operations that nobody carries on. */
const OPERATIONS_MS = 5_000;

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

/**
 * Runs the reconciler once and logs what it recovered. Returns the ms to wait before the next pass.
 *
 * @param options.onWorkerGone hears when a worker was found gone
 */
export async function reconcilePass(
  options: ReconcileOptions & { database: Database; log: Log; metrics?: WorkerMetrics; onWorkerGone?: () => void },
): Promise<number> {
  const { database, log, metrics } = options;
  const reconciled = await reconcileOnce(database, options);
  if (reconciled.workersGone > 0) options.onWorkerGone?.();
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
    every({ ...loop, name: "sweeping jobs" }, () => sweepJobs(database).then(() => SWEEP_JOBS_MS)),
    every({ ...loop, name: "looking for operations" }, () => wakeOperations(database).then(() => OPERATIONS_MS)),
    every({ ...loop, name: "pruning" }, createPruning({ database, keepDays })),
  ];
}

/**
 * Creates what gives back what the database says this worker holds and the worker knows nothing of: a claim whose answer was
 * lost may commit after everybody has stopped waiting for it. It answers how many leases were the worker's until now.
 *
 * An account that is in hand when the question is sent is left out: its turn may end before the answer is there, and the
 * answer then shows a lease that is over.
 *
 * @param options.inHand the accounts in hand now
 */
export function createLeaseSweep(options: {
  database: Database;
  ledger: Pick<Ledger, "giveBack">;
  workerId: string;
  inHand: () => Iterable<string>;
}): () => Promise<number> {
  const { database, ledger, workerId, inHand } = options;
  /** Accounts whose lease is being given back: one that somebody has locked takes long. */
  const ending = new Set<string>();
  return async () => {
    const known = new Set([...inHand(), ...ending]);
    const held = await listHeldLeases(database, workerId, UNKNOWN_LEASE_MS);
    for (const accountId of inHand()) known.add(accountId);
    let givenBack = 0;
    const ended = held
      .filter(({ accountId }) => !known.has(accountId))
      .map(async (lease) => {
        ending.add(lease.accountId);
        const end = { ...lease, startedSeq: null, failure: null, forgives: false };
        if (await ledger.giveBack(end).finally(() => ending.delete(lease.accountId))) givenBack += 1;
      });
    // An account that somebody has locked must not keep anybody from recovery.
    if (ended.length > 0) await Promise.race([Promise.allSettled(ended), sleep(UNKNOWN_LEASE_MS)]);
    return givenBack;
  };
}
