/**
 * The search for lost wake-ups: a share of the accounts that are due at a time, the oldest first, round after round. A round
 * over a hundred thousand accounts costs a quarter of one connection at most; one over none costs next to nothing.
 */
import type { Database } from "../db/pool.ts";
import { type DueLook, type DueMark, FIRST_DUE, wakeLost } from "../db/wake-ups.ts";
import type { Log } from "../log/log.ts";
import { RECONCILE_INTERVAL_MS } from "./recover.ts";

/** A look is followed by a rest of this many times what it took. */
const REST_PER_WORK = 3;

/** Between two looks when nothing was due. */
const NOTHING_DUE_MS = 1_000;

/**
 * Between two rounds that begin at the very first account. The other rounds begin where the last one found its first account:
 * while somebody keeps an old snapshot open, the index is full of entries that are dead and cannot be removed, all of
 * them before that.
 */
const FULL_ROUND_MS = 5_000;

/** An append that takes this long to commit brings an account that became due before the first one of the last round. */
const LATE_COMMIT_US = 10_000_000;

/** What the search needs. */
export interface WakeSearchOptions {
  readonly database: Database;
  readonly log: Log;
  /** Hears what each look found. */
  readonly onLook?: (look: DueLook) => void;
}

/** Creates the pass of the search: it answers how many ms to wait before the next one. */
export function createWakeSearch(options: WakeSearchOptions): () => Promise<number> {
  const { database, log, onLook } = options;
  let after = FIRST_DUE;
  let fullRoundDueMs = Number.NEGATIVE_INFINITY;
  let firstDueUs: number | undefined;

  return async () => {
    const startedMs = performance.now();
    const look = await wakeLost(database, after);
    if (look === undefined) return RECONCILE_INTERVAL_MS;
    if (look.woken > 0) log.warn({ woken: look.woken }, "woke accounts whose wake-up had got lost");
    onLook?.(look);
    firstDueUs ??= look.first?.dueUs;
    after = look.isFull && look.last !== null ? look.last : beginRound(look.nowUs);
    if (look.woken > 0 && look.isFull) return 0;
    const restMs = REST_PER_WORK * (performance.now() - startedMs);
    if (look.isFull) return restMs;
    return Math.max(look.first === null ? NOTHING_DUE_MS : RECONCILE_INTERVAL_MS, restMs);
  };

  function beginRound(nowUs: number): DueMark {
    const dueUs = Math.min(firstDueUs ?? nowUs, nowUs - LATE_COMMIT_US) - 1;
    firstDueUs = undefined;
    if (performance.now() < fullRoundDueMs) return { dueUs, accountId: "" };
    fullRoundDueMs = performance.now() + FULL_ROUND_MS;
    return FIRST_DUE;
  }
}
