/** Above this share of the time the event loop is busy, and JavaScript is part of what holds the worker's accounts up. */
const BUSY_SHARE = 0.3;

/** So many renewals in a row, twice a second, have to find the work uneven: what comes and goes evens out by itself. */
const LOOKS = 3;

/**
 * Accounts go to whoever asks first, so that a worker which starts a moment later than the others may find few left: with a
 * backlog it idles until it is drained (bench/README.md). A busy worker gives back half of the accounts that it has more of than another
 * one, which fetches them as fast as itself. A worker that waits for its handlers, and not for the processor, keeps its accounts: giving
 * one back costs a claim, and helps nobody.
 */
export class Balance {
  readonly #measure: () => number;
  #unevenLooks = 0;
  #surplus = 0;

  /** @param measure the share of the time that the event loop was busy since it was asked last */
  constructor(measure: () => number = createMeasure()) {
    this.#measure = measure;
  }

  /**
   * Takes note of how the work is spread.
   *
   * @param inHand accounts of this worker
   * @param leastInHand of any other worker that takes accounts; null when there is none
   */
  heard(inHand: number, leastInHand: number | null): void {
    const isBusy = this.#measure() > BUSY_SHARE;
    const isUneven = isBusy && leastInHand !== null && inHand > 2 * leastInHand + 1;
    this.#unevenLooks = isUneven ? this.#unevenLooks + 1 : 0;
    this.#surplus = 0;
    if (!isUneven || this.#unevenLooks < LOOKS) return;
    this.#unevenLooks = 0;
    this.#surplus = Math.floor((inHand - leastInHand) / 2);
  }

  /** Whether accounts are to be given back. */
  get isUneven(): boolean {
    return this.#surplus > 0;
  }

  /** Whether the turn that asks is to give its account back: as many turns hear so as there are accounts too many. */
  takesOne(): boolean {
    if (this.#surplus === 0) return false;
    this.#surplus -= 1;
    return true;
  }
}

function createMeasure(): () => number {
  let last = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    return utilization;
  };
}
