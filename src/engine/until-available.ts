import { setTimeout as sleep } from "node:timers/promises";
import { isUnavailable } from "../errors/database.ts";

/** Between two tries while the database is away. */
const RETRY_MS = 200;

/**
 * Tries until the database is there. Any other error is passed on at once.
 *
 * @param hopeless aborts when it is no use to wait for the database any longer
 * @param attempt gets what the last try failed with; undefined at the first one
 */
export async function untilAvailable<Result>(
  hopeless: AbortSignal,
  attempt: (failure?: unknown) => Promise<Result>,
): Promise<Result> {
  for (let failure: unknown; ; ) {
    try {
      return await attempt(failure);
    } catch (error) {
      if (!isUnavailable(error) || hopeless.aborted) throw error;
      failure = error;
      await sleep(RETRY_MS);
    }
  }
}
