import { setTimeout as sleep } from "node:timers/promises";
import { freezeBucket, holdBucket, type MovedBucket, unfreezeBucket } from "../db/move.ts";
import type { Database } from "../db/pool.ts";
import { isLocked } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";

/** Freezing waits this long for appends under way; others of the bucket wait behind it. */
export const FREEZE_LOCK_MS_MAX = 1_000;

/** Once nothing more is taken, handlers of accounts that came last get this long; else the bucket takes events again meanwhile. */
const FROZEN_WAIT_MS_MAX = 1_000;

/** Between two looks whether handlers have ended. */
const LOOK_MS = 50;

/** How long it may take. */
interface StopOptions {
  /** For handlers that run. */
  readonly waitMs: number;
  readonly signal: AbortSignal;
  /** Hears when handlers are waited for. */
  readonly onWait: () => void;
}

/**
 * Stops a bucket that is being moved: first its handlers, and when these have ended its appends, so that senders are refused for a
 * moment only.
 *
 * @returns when it took its last event, by the clock of this process
 * @throws InturnError `move_failed` when handlers run for too long, or somebody else moves it; database errors as they come
 */
export async function stopBucket(source: Database, moved: MovedBucket, options: StopOptions): Promise<number> {
  const deadlineMs = performance.now() + options.waitMs;
  for (;;) {
    options.onWait();
    await untilHeld(source, moved, deadlineMs, options.signal);
    const startedMs = performance.now();
    try {
      await freezeBucket(source, moved);
      // Accounts that came meanwhile are held, too.
      await untilHeld(source, moved, Math.min(deadlineMs, startedMs + FROZEN_WAIT_MS_MAX), options.signal);
      return startedMs;
    } catch (error) {
      const mayComeLater = isLocked(error) || (error instanceof InturnError && error.code === "move_failed");
      if (!mayComeLater || performance.now() > deadlineMs) throw error;
      await unfreezeBucket(source, moved);
    }
  }
}

async function untilHeld(source: Database, moved: MovedBucket, deadlineMs: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const running = await holdBucket(source, moved);
    if (running === 0) return;
    if (performance.now() > deadlineMs) {
      throw new InturnError(
        "move_failed",
        `${running} accounts of bucket ${moved.bucket} are still running; it stays where it is. Try again later, or wait longer.`,
      );
    }
    await sleep(LOOK_MS);
  }
}
