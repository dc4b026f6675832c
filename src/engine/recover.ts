/**
 * Recovery: a worker's lease is renewed while it lives, and what others left behind is found and put right.
 * Each pass is one function that a test can call; `every` is the loop.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Database } from "../db/pool.ts";
import { type Reconciled, reconcileOnce } from "../db/reconcile.ts";
import { listHeldLeases, renewWorkerLease, type WorkerIdentity } from "../db/workers.ts";
import type { Log } from "../log/log.ts";
import type { Ledger } from "./ledger.ts";

/** Between two passes of the reconciler, at least. */
const RECONCILE_INTERVAL_MS = 1_000;

/** The reconciler rests ten times as long as it worked: on a huge backlog it takes a tenth of one connection at most. */
const REST_PER_WORK = 10;

/** A lease this old belongs to a turn, or to nobody. */
const STRAY_MS = 1_000;

/** A lease is renewed three times before it would run out. */
const RENEWALS_PER_LEASE = 3;

/**
 * Calls `pass` again and again until the signal aborts. A pass answers how long to wait for the next one. One that
 * fails is logged and tried again: a loop of recovery that can die is no recovery.
 */
export async function every(
  options: { signal: AbortSignal; log: Log; name: string; onErrorMs: number },
  pass: () => Promise<number>,
): Promise<void> {
  const { signal, log, name, onErrorMs } = options;
  while (!signal.aborted) {
    const waitMs = await pass().catch((error: unknown) => {
      log.error({ err: error }, `${name} failed; trying again in ${onErrorMs} ms`);
      return onErrorMs;
    });
    await sleep(waitMs, undefined, { signal, ref: false }).catch(() => undefined);
  }
}

/** Runs the reconciler once and says what it put right. Returns the ms to wait before the next pass. */
export async function reconcilePass(database: Database, log: Log): Promise<number> {
  const startedMs = performance.now();
  const reconciled = await reconcileOnce(database);
  if (reconciled !== null && putRight(reconciled) > 0) log.warn({ ...reconciled }, "put right what was left behind");
  return Math.max(RECONCILE_INTERVAL_MS, REST_PER_WORK * (performance.now() - startedMs));
}

/** Renews the worker's lease once. Calls `onLost` when it had run out meanwhile. Returns the ms to wait before the next pass. */
export async function renewPass(options: {
  database: Database;
  worker: WorkerIdentity;
  leaseMs: number;
  onLost: () => void;
}): Promise<number> {
  const { entered } = await renewWorkerLease(options.database, options.worker, options.leaseMs);
  if (entered) options.onLost();
  return options.leaseMs / RENEWALS_PER_LEASE;
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
  await Promise.all(strays.map((lease) => options.ledger.giveBack({ ...lease, failure: null, started: false })));
  return strays.length;
}

function putRight(reconciled: Reconciled): number {
  return reconciled.workersExpired + reconciled.takenOver + reconciled.woken;
}
