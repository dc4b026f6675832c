import type { Database } from "../db/pool.ts";
import { countPending } from "../db/progress.ts";

/** How many events wait in total, near enough to refuse more. */
export interface Backlog {
  /** The last count, and what has come in here since. Counts anew in the background when that is old. */
  size(): number;
  /** Tells of events that were stored. */
  grew(events: number): void;
}

/** A count this old is renewed. */
const COUNT_AGE_MS_MAX = 1_000;

/** Counting rests this many times as long as it took: on a huge number of accounts it must not become the load itself. */
const REST_PER_WORK = 20;

/**
 * Watches the backlog while events come in; asks nothing while none do.
 *
 * What other servers store between two counts is not seen, so the cap that stands on this is one to the nearest second.
 */
export function watchBacklog(database: Database): Backlog {
  let counted = 0;
  let since = 0;
  let dueMs = 0;
  let counting = false;
  const count = async () => {
    const startedMs = performance.now();
    try {
      const before = since;
      counted = await countPending(database);
      since -= before;
    } catch {
      // The appends hear from the same database what is wrong with it.
    } finally {
      dueMs = performance.now() + Math.max(COUNT_AGE_MS_MAX, REST_PER_WORK * (performance.now() - startedMs));
      counting = false;
    }
  };
  return {
    size() {
      if (!counting && performance.now() > dueMs) {
        counting = true;
        void count();
      }
      return counted + since;
    },
    grew: (events) => (since += events),
  };
}
