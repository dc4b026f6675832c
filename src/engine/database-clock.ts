/**
 * The database's clock, as a worker knows it: what it heard last, plus the monotonic time since then. The answer took a moment to
 * arrive, so this never runs ahead of the database, and an event never starts before its predecessor's settle.
 */
export class DatabaseClock {
  #databaseUs: number;
  #heardMs = performance.now();

  /** @param databaseUs microseconds since 1970, as the database has just said */
  constructor(databaseUs: number) {
    this.#databaseUs = databaseUs;
  }

  /** Takes note of what the database has just said. */
  hear(databaseUs: number): void {
    this.#databaseUs = databaseUs;
    this.#heardMs = performance.now();
  }

  /** Microseconds since 1970 at this moment of the monotonic clock. */
  at(monotonicMs: number): number {
    return this.#databaseUs + Math.ceil((monotonicMs - this.#heardMs) * 1_000);
  }
}
