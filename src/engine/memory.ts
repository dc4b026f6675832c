/** A request that waits for memory. */
interface Waiting {
  readonly bytes: number;
  readonly resolve: (hasIt: boolean) => void;
}

/**
 * Memory that is shared, in bytes. First come, first served: small requests do not overtake a large one for ever. A
 * wish for more than there is goes alone.
 */
export class Memory {
  readonly #bytesMax: number;
  readonly #waitingMax: number;
  readonly #waiting = new Set<Waiting>();
  #taken = 0;

  /** @param options.waitingMax how many may wait for it */
  constructor(options: { bytesMax: number; waitingMax: number }) {
    this.#bytesMax = options.bytesMax;
    this.#waitingMax = options.waitingMax;
  }

  /**
   * Takes so many bytes, as soon as there is room for them.
   *
   * @param signals end the wait
   * @returns false when too many wait already, or a signal has ended the wait
   */
  async take(bytes: number, signals: readonly AbortSignal[]): Promise<boolean> {
    if (this.#waiting.size === 0 && this.#hasRoom(bytes)) {
      this.#taken += bytes;
      return true;
    }
    if (this.#waiting.size >= this.#waitingMax || signals.some((signal) => signal.aborted)) return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const waiting = { bytes, resolve };
    const leave = () => {
      this.#waiting.delete(waiting);
      resolve(false);
      this.#serve();
    };
    this.#waiting.add(waiting);
    for (const signal of signals) signal.addEventListener("abort", leave, { once: true });
    const hasIt = await promise;
    for (const signal of signals) signal.removeEventListener("abort", leave);
    return hasIt;
  }

  /** Gives them back. */
  give(bytes: number): void {
    this.#taken -= bytes;
    this.#serve();
  }

  #hasRoom(bytes: number): boolean {
    return this.#taken === 0 || this.#taken + bytes <= this.#bytesMax;
  }

  #serve(): void {
    for (const waiting of this.#waiting) {
      if (!this.#hasRoom(waiting.bytes)) return;
      this.#waiting.delete(waiting);
      this.#taken += waiting.bytes;
      waiting.resolve(true);
    }
  }
}
