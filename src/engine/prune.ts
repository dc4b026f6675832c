/**
 * Retention: events that were settled long ago go, and their ids with them. Step by step, so that no account waits for it.
 */
import type { Database } from "../db/pool.ts";
import { pruneStep } from "../db/prune.ts";

/** Between two rounds over all accounts that found nothing. */
const ROUND_MS = 60_000;

/** Between two steps: pruning is never in a hurry. */
const STEP_MS = 200;

/**
 * Creates the pass that a worker repeats: one step, then the ms to wait before the next one.
 *
 * @param options.keepDays how long settled events are kept; 0 keeps them for ever
 */
export function createPruning(options: { database: Database; keepDays: number }): () => Promise<number> {
  const { database, keepDays } = options;
  let afterAccountId = "";
  let found = 0;
  return async () => {
    if (keepDays === 0) return ROUND_MS;
    const { events, lastAccountId } = await pruneStep(database, { afterAccountId, keepDays });
    found += events;
    afterAccountId = lastAccountId ?? "";
    if (lastAccountId !== null) return STEP_MS;
    // A step leaves something over where an account has much to delete.
    const waitMs = found > 0 ? STEP_MS : ROUND_MS;
    found = 0;
    return waitMs;
  };
}

/** Prunes everything that is old enough, now; returns how many events went. */
export async function pruneAll(
  database: Database,
  options: { keepDays: number; onProgress?: (events: number) => void },
): Promise<number> {
  let total = 0;
  for (let inRound = 1; inRound > 0; ) {
    inRound = 0;
    let after: string | null = "";
    while (after !== null) {
      const { events, lastAccountId } = await pruneStep(database, {
        afterAccountId: after,
        keepDays: options.keepDays,
      });
      after = lastAccountId;
      inRound += events;
      total += events;
      options.onProgress?.(total);
    }
  }
  return total;
}
