/**
 * Waiting for events to be settled: many requests, one look at the database now and then.
 */
import type { Database } from "../db/pool.ts";
import { readProcessedSeqs } from "../db/progress.ts";
import { InturnError } from "../errors/error.ts";

/** What to wait for. */
export interface WaitFor {
  readonly accountId: string;
  readonly seq: number;
  readonly ms: number;
  /** Ends the wait when the client has gone. */
  readonly signal?: AbortSignal | undefined;
}

/** Between two looks. */
const LOOK_MS = 100;

/** Requests that may wait at once. */
const WAITING_MAX = 1_000;

interface Waiter {
  readonly accountId: string;
  readonly seq: number;
  readonly end: () => void;
}

/** The requests that wait. While there are none, the database is not asked. */
export class Waiting {
  readonly #database: Database;
  readonly #waiters = new Set<Waiter>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * Resolves when the event is settled, when the time is up, or when nothing more is waited for.
   *
   * @throws InturnError `overloaded` when too many wait already
   */
  async untilSettled({ accountId, seq, ms, signal }: WaitFor): Promise<void> {
    if (this.#isClosed || signal?.aborted === true) return;
    if (this.#waiters.size >= WAITING_MAX) {
      throw new InturnError("overloaded", `${WAITING_MAX} requests wait for events already; ask again without wait.`);
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const end = () => resolve();
    const waiter = { accountId, seq, end };
    this.#waiters.add(waiter);
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end, { once: true });
    this.#timer ??= setTimeout(() => void this.#look(), LOOK_MS);
    await promise;
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
    this.#waiters.delete(waiter);
  }

  /** Ends every wait, and those to come. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const { end } of this.#waiters) end();
  }

  async #look(): Promise<void> {
    try {
      const seqs = await readProcessedSeqs(this.#database, [...new Set([...this.#waiters].map((w) => w.accountId))]);
      for (const { accountId, seq, end } of this.#waiters) if ((seqs.get(accountId) ?? 0) >= seq) end();
    } catch {
      // The database is away: the next query may succeed, and every wait has a limit.
    }
    const goesOn = this.#waiters.size > 0 && !this.#isClosed;
    this.#timer = goesOn ? setTimeout(() => void this.#look(), LOOK_MS) : undefined;
  }
}
