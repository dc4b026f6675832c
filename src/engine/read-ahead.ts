/**
 * Reading events ahead of their handlers, within a number of bytes for the whole process. Half of it is for batches: each
 * account in hand has a part of it, so nobody waits. An event that is too large for a batch takes its memory from the other half
 * before it is read, and gives it back when its handler has ended.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Batch, type BatchRequest, readBatches, readNextEvents } from "../db/events.ts";
import type { Database } from "../db/pool.ts";
import type { StoredEvent } from "../domain/event.ts";
import { isUnavailable } from "../errors/database.ts";
import type { Log } from "../log/log.ts";
import type { DetourOptions } from "./detour.ts";
import { GroupCommit } from "./group-commit.ts";
import { Memory } from "./memory.ts";
import { untilAvailable } from "./until-available.ts";

/** Accounts in one statement of a turn; the row locks that it takes are held until it commits. */
export const BATCH_ACCOUNTS_MAX = 500;

/** The most events of one account that a worker keeps in memory, unless its handler wants more of them together. */
const BATCH_EVENTS_MAX = 50;

/** The most bytes of a batch, however much memory there is. */
export const BATCH_BYTES_MAX = 262_144;

/** Large events that one statement reads together, in bytes; a larger one is read alone. */
const STATEMENT_BYTES_MAX = 4_194_304;

/** This share of the accounts in hand may wait for memory. The others rest, and leave their slots to accounts with small events. */
const WAITING_SHARE = 0.25;

/** Between two warnings that there is no room. */
const TELL_AGAIN_MS = 60_000;

/** How a worker reads ahead. */
export interface ReadAheadOptions {
  readonly database: Database;
  /** Of all events in memory, but for one that is larger than half of it. */
  readonly bytesMax: number;
  /** Accounts in hand at once. */
  readonly concurrency: number;
  /** Events that a handler wants together; one unless told. */
  readonly togetherMax?: number;
  /** Aborts when it is no use to wait for the database any longer. */
  readonly hopeless: AbortSignal;
  readonly log: Log;
}

/** Events in memory. */
export interface EventsInHand {
  /** In seq order. */
  readonly events: readonly StoredEvent[];
  /** Tells that they are no longer needed. */
  release(): void;
}

interface LargeRequest extends BatchRequest {
  readonly bytes: number;
}

/** Reading takes no locks. */
const NO_LOCKS: DetourOptions<BatchRequest> = {
  isLocked: () => false,
  accountsOf: () => [],
  findLocked: () => Promise.resolve(new Set()),
  waitMsMax: 0,
  waitingWeightMax: 0,
};

/** Reads the events of all accounts in hand. */
export class ReadAhead {
  readonly #options: ReadAheadOptions;
  readonly #batchLimits: { eventsMax: number; bytesMax: number };
  readonly #memory: Memory;
  readonly #batches: GroupCommit<BatchRequest, Batch>;
  readonly #large: GroupCommit<LargeRequest, StoredEvent | undefined>;
  #nextLargeMs = 0;
  #lastAlone: Promise<unknown> = Promise.resolve();
  #isFailing = false;
  #toldOfMemoryMs = Number.NEGATIVE_INFINITY;

  constructor(options: ReadAheadOptions) {
    const { database, bytesMax, concurrency, togetherMax = 1 } = options;
    this.#options = options;
    const eventsMax = Math.max(BATCH_EVENTS_MAX, togetherMax);
    this.#batchLimits = { eventsMax, bytesMax: Math.min(BATCH_BYTES_MAX, Math.floor(bytesMax / 2 / concurrency)) };
    const waitingMax = Math.max(1, Math.floor(WAITING_SHARE * concurrency));
    this.#memory = new Memory({ bytesMax: bytesMax / 2, waitingMax });
    // Whatever fails but the database as a whole is the fault of one account's data.
    const batches = { isItemsFault: (error: unknown) => !isUnavailable(error), detour: NO_LOCKS };
    this.#batches = new GroupCommit({
      ...batches,
      weightMax: BATCH_ACCOUNTS_MAX,
      commit: (requests) => readBatches(database, requests, this.#batchLimits),
    });
    this.#large = new GroupCommit<LargeRequest, StoredEvent | undefined>({
      ...batches,
      weightMax: STATEMENT_BYTES_MAX,
      weigh: ({ bytes }) => bytes,
      commit: (requests) => this.#readLarge(requests),
    });
  }

  /**
   * The next events after a seq, in order; none when there are none. While the database is away it waits.
   *
   * @param signals end the wait
   * @returns undefined when there is no room for them, or a signal has ended the wait
   */
  async read(request: BatchRequest, signals: readonly AbortSignal[]): Promise<EventsInHand | undefined> {
    return await untilAvailable(this.#options.hopeless, async (failure) => {
      const isAlone = failure !== undefined;
      if (isAlone) {
        if (signals.some((signal) => signal.aborted)) return undefined;
        this.#tellOfFailure(failure, request);
      }
      const inHand = await this.#read(request, { isAlone, signals });
      this.#isFailing &&= isAlone;
      return inHand;
    });
  }

  async #read(
    request: BatchRequest,
    how: { isAlone: boolean; signals: readonly AbortSignal[] },
  ): Promise<EventsInHand | undefined> {
    const { database } = this.#options;
    const [batch] = how.isAlone
      ? await this.#alone(() => readBatches(database, [request], this.#batchLimits))
      : [await this.#batches.submit(request)];
    const { events = [], nextBytes: bytes = 0 } = batch ?? {};
    if (bytes === 0) return { events, release: () => undefined };
    if (!(await this.#memory.take(bytes, how.signals))) {
      this.#tellOfMemory(request, bytes);
      return undefined;
    }
    const release = () => this.#memory.give(bytes);
    try {
      const [event] = how.isAlone
        ? await this.#alone(() => readNextEvents(database, [request]))
        : [await this.#large.submit({ ...request, bytes })];
      return { events: event === undefined ? [] : [event], release };
    } catch (error) {
      // Others may have it in the meantime: it may take many tries.
      release();
      throw error;
    }
  }

  /** What is large keeps this process busy, and the database: as long as it took, it makes room for what is small. */
  async #readLarge(requests: readonly LargeRequest[]): Promise<(StoredEvent | undefined)[]> {
    await sleep(Math.max(0, this.#nextLargeMs - performance.now()));
    const startedMs = performance.now();
    const events = await readNextEvents(this.#options.database, requests);
    const endedMs = performance.now();
    this.#nextLargeMs = endedMs + (endedMs - startedMs);
    return events;
  }

  /** One read after the other: those that fail again and again keep one connection busy, and no more. */
  #alone<Result>(read: () => Promise<Result>): Promise<Result> {
    const result = this.#lastAlone.then(read);
    this.#lastAlone = result.catch(() => undefined);
    return result;
  }

  /** Once, until all goes well again: a database that is away fails every read. */
  #tellOfFailure(error: unknown, { accountId }: BatchRequest): void {
    const level = this.#isFailing ? "debug" : "warn";
    this.#isFailing = true;
    this.#options.log[level](
      { err: error, accountId },
      "events could not be read; it is tried again, each account alone",
    );
  }

  #tellOfMemory({ accountId, afterSeq }: BatchRequest, bytes: number): void {
    if (performance.now() - this.#toldOfMemoryMs < TELL_AGAIN_MS) return;
    this.#toldOfMemoryMs = performance.now();
    const event = { accountId, seq: afterSeq + 1, bytes };
    this.#options.log.warn(event, "large events wait for memory; see INTURN_READ_AHEAD_BYTES_MAX");
  }
}
