/**
 * A worker's part in recovery: the loops that recover what other workers left behind, and what it left behind itself.
 */
import type { Database } from "../db/pool.ts";
import { unlockJobs } from "../db/wake-ups.ts";
import type { News } from "../db/workers.ts";
import { LEASE_TIMES } from "../domain/lease-times.ts";
import type { Ledger } from "../engine/ledger.ts";
import {
  createLeaseSweep,
  every,
  keepUp,
  type LoopOptions,
  RECONCILE_INTERVAL_MS,
  reconcilePass,
} from "../engine/recover.ts";
import { StallWatch } from "../engine/stall-watch.ts";
import { createWakeSearch } from "../engine/wake-search.ts";
import type { Log } from "../log/log.ts";
import type { WorkerMetrics } from "../metrics/worker-metrics.ts";

/** Between two sweeps for leases whose worker, or whose turn, is gone without a trace: each reads every running account. */
const SWEEP_MS = 2_000;

/** Between two looks at whether there is something to reconcile; it does not ask the database. */
const LOOK_MS = 100;

/** Between two tries of a loop that failed. */
const RETRY_MS = 300;

/** What recovery needs of its worker. */
export interface RecoveryOptions {
  readonly database: Database;
  readonly ledger: Pick<Ledger, "giveBack">;
  readonly workerId: string;
  readonly log: Log;
  readonly metrics: WorkerMetrics;
  /** How long settled events are kept; 0 keeps them for ever. */
  readonly keepDays: number;
  /** The accounts in hand now. */
  readonly inHand: () => Iterable<string>;
  readonly hasFreeSlots: () => boolean;
  /** Whether this worker may say which of the others are gone. */
  readonly mayJudge: () => boolean;
}

/** The recovery of one worker. */
export class Recovery {
  readonly #options: RecoveryOptions;
  readonly #stallWatch: StallWatch;
  readonly #sweepLeases: () => Promise<number>;
  /** Runners of graphile-worker that are gone, and may have locked jobs. */
  readonly #runnersGone = new Set<string>();
  #sweptMs = Number.NEGATIVE_INFINITY;
  #reconciledMs = Number.NEGATIVE_INFINITY;
  /** Whether the worker has begun a turn since its leases were swept with none in hand. */
  #hasTurned = true;
  #othersSeemGone = false;
  #troubledMs = Number.NEGATIVE_INFINITY;
  /** Called when wake-ups wait and are not fetched: then graphile-worker is started again. */
  onUnfetched: () => void = () => undefined;

  constructor(options: RecoveryOptions) {
    this.#options = options;
    this.#sweepLeases = createLeaseSweep(options);
    const { hasFreeSlots, log } = options;
    this.#stallWatch = new StallWatch({ hasFreeSlots, onUnfetched: () => this.onUnfetched(), log });
  }

  /** Starts the loops: each resolves when the signal aborts. */
  start(signal: AbortSignal): Promise<void>[] {
    const { database, log, keepDays } = this.#options;
    const loop: LoopOptions = { signal, log, onErrorMs: RETRY_MS };
    const search = createWakeSearch({ database, log, onLook: (look) => this.#stallWatch.looked(look) });
    return [
      every({ ...loop, name: "reconciling" }, () => this.#reconcile()),
      every({ ...loop, name: "looking for lost wake-ups" }, search),
      ...keepUp({ ...loop, database, keepDays }),
    ];
  }

  /** For how long accounts have been due although the worker has free slots, in ms; 0 while it is well. */
  get stalledMs(): number {
    return this.#stallWatch.stalledMs;
  }

  /** Takes note of a turn that begins. */
  turnBegan(): void {
    this.#hasTurned = true;
    this.#stallWatch.turnBegan();
  }

  /** Takes note of what a renewal told of the others. */
  heard({ othersSeemGone }: News): void {
    this.#othersSeemGone = othersSeemGone;
  }

  /** Notes that a statement ended without an answer: it may have been carried out, or may still be. */
  troubled(): void {
    this.#troubledMs = performance.now();
  }

  /** What a runner that is gone has locked is freed at the next reconciliation. */
  freeJobsOf(graphilePool: string): void {
    this.#runnersGone.add(graphilePool);
  }

  async #reconcile(): Promise<number> {
    const { database, log, metrics, mayJudge } = this.#options;
    const nowMs = performance.now();
    const isTroubled = nowMs - this.#troubledMs < LEASE_TIMES.troubledMs;
    const sweeps = isTroubled || nowMs - this.#sweptMs >= SWEEP_MS;
    const isDue = sweeps || this.#othersSeemGone || this.#runnersGone.size > 0;
    if (!isDue || nowMs - this.#reconciledMs < RECONCILE_INTERVAL_MS) return LOOK_MS;
    this.#reconciledMs = nowMs;
    try {
      if (sweeps) {
        await this.#sweepOwnLeases(isTroubled);
        this.#sweptMs = nowMs;
      }
      const gone = [...this.#runnersGone];
      if (gone.length > 0) await unlockJobs(database, gone);
      for (const runner of gone) this.#runnersGone.delete(runner);
      // A row that a statement of the dead worker still locks is skipped, and a claim of that worker may commit after the takeover.
      const onWorkerGone = () => this.troubled();
      const waitMs = await reconcilePass({ database, log, metrics, judges: mayJudge(), sweeps, onWorkerGone });
      if (waitMs > 0) return LOOK_MS;
      // A full pass has left something over, which the next one looks for at once.
      this.#sweptMs = Number.NEGATIVE_INFINITY;
      this.#reconciledMs = Number.NEGATIVE_INFINITY;
      return 0;
    } catch (error) {
      this.troubled();
      throw error;
    }
  }

  /** An idle worker holds no lease, unless something went wrong. */
  async #sweepOwnLeases(isTroubled: boolean): Promise<void> {
    const isIdle = [...this.#options.inHand()].length === 0;
    if (!isTroubled && isIdle && !this.#hasTurned) return;
    this.#hasTurned = !isIdle;
    const givenBack = await this.#sweepLeases();
    if (givenBack > 0) this.#options.log.warn({ givenBack }, "gave back accounts whose claim had got lost");
  }
}
