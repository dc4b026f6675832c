/**
 * Notices that accounts are due, that this worker has free slots, and that it begins no turn all the same: then nobody fetches
 * the wake-ups, whatever the reason is.
 */
import type { DueLook } from "../db/wake-ups.ts";
import type { Log } from "../log/log.ts";

/** Wake-ups that are free to take are fetched within milliseconds; after this long the runner that should do it is replaced. */
const UNFETCHED_MS_MAX = 1_000;

/** A runner needs a moment for its first fetch. */
const REPLACE_MS_MIN = 3_000;

/** A worker that makes no progress for this long cannot do its work, and says so. */
const STALLED_MS_MAX = 10_000;

/** Between two lines that say so. */
const SAY_MS = 60_000;

/** What a watch needs. */
export interface StallWatchOptions {
  readonly hasFreeSlots: () => boolean;
  /** Hears that wake-ups wait, and are not fetched. */
  readonly onUnfetched: () => void;
  readonly log: Log;
  /** A clock in ms that never goes back. */
  readonly now?: () => number;
}

/** Watches one worker. */
export class StallWatch {
  readonly #options: StallWatchOptions;
  readonly #now: () => number;
  #turnBeganMs: number;
  /** Since when accounts are due and no turn begins. */
  #sinceMs: number | undefined;
  #replacedMs = Number.NEGATIVE_INFINITY;
  #saidMs = Number.NEGATIVE_INFINITY;

  constructor(options: StallWatchOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#turnBeganMs = this.#now();
  }

  /** For how long it has been stalled, in ms; 0 while it is well. */
  get stalledMs(): number {
    const ms = this.#sinceMs === undefined ? 0 : this.#now() - this.#sinceMs;
    return ms >= STALLED_MS_MAX ? ms : 0;
  }

  /** Takes note of a turn that begins. */
  turnBegan(): void {
    this.#turnBeganMs = this.#now();
    this.#sinceMs = undefined;
  }

  /** Takes note of a look at the accounts that are due. */
  looked({ unfetched, woken, isFull }: Pick<DueLook, "unfetched" | "woken" | "isFull">): void {
    const nowMs = this.#now();
    if (!this.#options.hasFreeSlots()) this.#sinceMs = undefined;
    else if (unfetched + woken > 0) this.#sinceMs ??= Math.max(this.#turnBeganMs, nowMs - UNFETCHED_MS_MAX);
    // A full look has not seen everything: accounts behind it may be due.
    else if (!isFull) this.#sinceMs = undefined;
    if (this.#sinceMs === undefined) return;
    if (unfetched > 0) this.#replace(nowMs);
    if (this.stalledMs > 0) this.#say(nowMs, unfetched + woken);
  }

  #replace(nowMs: number): void {
    if (nowMs - this.#turnBeganMs < UNFETCHED_MS_MAX || nowMs - this.#replacedMs < REPLACE_MS_MIN) return;
    this.#replacedMs = nowMs;
    this.#options.onUnfetched();
  }

  #say(nowMs: number, due: number): void {
    if (nowMs - this.#saidMs < SAY_MS) return;
    this.#saidMs = nowMs;
    const stalledSeconds = Math.round(this.stalledMs / 1_000);
    this.#options.log.error(
      { due, stalledSeconds },
      "accounts are due and this worker has free slots, but no turn begins",
    );
  }
}
