/**
 * Watching the whole system: one reading a second, shared by all dashboards, charts and metrics.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Database } from "../db/pool.ts";
import { type Pulse, readPulse } from "../db/pulse.ts";

/** Hears of each reading; undefined while the database cannot be read. */
export type PulseListener = (pulse: Pulse | undefined) => void;

/** Between two readings, at least. */
const INTERVAL_MS = 1_000;

/** The same while nobody listens: a reading is seven statements, and the charts are to show something when somebody comes. */
const UNHEARD_INTERVAL_MS = 10_000;

/**
 * Reading rests this many times as long as it took, 35 ms with 100,000 accounts, but not for longer than this: on a busy machine
 * a reading may wait more than it works.
 */
const REST = { perWork: 25, msMax: 4_000 };

/** While somebody listens, a reading that is late by less than this is still the latest. */
const LATE_MS_MAX = 5_000;

/** Readings are remembered for this long, for the charts. */
const HISTORY_MS = 600_000;

/** Takes the pulse of the system, on and on, until it is closed. */
export class PulseWatch {
  readonly #database: Database;
  readonly #listeners = new Set<PulseListener>();
  readonly #closing = new AbortController();
  readonly #history: Pulse[] = [];
  #reading: Promise<Pulse> | undefined;
  /** Aborts when somebody begins to listen. */
  #heard = new AbortController();
  #dueMs = Number.NEGATIVE_INFINITY;
  #isRunning = false;

  constructor(database: Database) {
    this.#database = database;
  }

  /** The readings of the last minutes, oldest first. */
  get history(): readonly Pulse[] {
    return this.#history;
  }

  /**
   * The last reading; a new one when that is due and nobody takes it. While the watch runs and somebody listens, nobody waits for one but
   * the first caller, and those who come when the database has been away for a while: then it rejects.
   */
  async latest(): Promise<Pulse> {
    const last = this.#history.at(-1);
    const mayBeLateMs = this.#isRunning && this.#listeners.size > 0 ? LATE_MS_MAX : 0;
    return last !== undefined && performance.now() < this.#dueMs + mayBeLateMs ? last : await this.#readOnce();
  }

  /** Calls the listener after every reading, once a second, until the function that comes back is called. */
  listen(listener: PulseListener): () => void {
    this.#listeners.add(listener);
    this.#heard.abort();
    return () => this.#listeners.delete(listener);
  }

  /** Reads on and on, seldom while nobody listens; resolves when it is closed. */
  async run(): Promise<void> {
    const { signal } = this.#closing;
    this.#isRunning = true;
    while (!signal.aborted) {
      const pulse = await this.#readOnce().catch(() => undefined);
      for (const listener of this.#listeners) listener(pulse);
      const dueMs = pulse === undefined ? INTERVAL_MS : Math.max(0, this.#dueMs - performance.now());
      this.#heard = new AbortController();
      const isHeard = this.#listeners.size > 0;
      const either = isHeard ? signal : AbortSignal.any([signal, this.#heard.signal]);
      const waitMs = isHeard ? dueMs : UNHEARD_INTERVAL_MS;
      await sleep(waitMs, undefined, { signal: either }).catch(() => undefined);
    }
    this.#isRunning = false;
  }

  /** Ends the reading. */
  close(): void {
    this.#closing.abort();
  }

  async #readOnce(): Promise<Pulse> {
    this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
    return await this.#reading;
  }

  async #read(): Promise<Pulse> {
    const startedMs = performance.now();
    const pulse = await readPulse(this.#database);
    const endedMs = performance.now();
    this.#dueMs = endedMs + Math.max(INTERVAL_MS, Math.min(REST.perWork * (endedMs - startedMs), REST.msMax));
    this.#history.push(pulse);
    while ((this.#history[0]?.atMs ?? Number.POSITIVE_INFINITY) < pulse.atMs - HISTORY_MS) this.#history.shift();
    return pulse;
  }
}
