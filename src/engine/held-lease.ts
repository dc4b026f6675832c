import type { Claimed } from "../db/claim.ts";
import type { HeadFailure } from "../db/give-back.ts";
import type { StoredEvent } from "../domain/event.ts";
import { textOf } from "../errors/text.ts";
import type { TurnOptions } from "./turn-options.ts";

/** The wait of an account whose turn broke off: whatever broke it must not break it a thousand times a second. */
export const REST_MS = 1_000;

/** The wait of an account for which there was no room in memory, about: looking again costs several writes. */
const MEMORY_REST_MS = 5_000;

/** A lease that a turn holds: what every write names, whether handlers may start under it, and how it is given back. */
export class HeldLease {
  readonly claimed: Claimed;
  /** The last head whose handler was started. */
  startedSeq: number | null = null;
  /** The pause that has let the account go on for one event, which it still covers. */
  #releasedBy: number | null;
  #isLost = false;
  readonly #options: TurnOptions;

  constructor(options: TurnOptions, claimed: Claimed) {
    this.#options = options;
    this.claimed = claimed;
    this.#releasedBy = claimed.releasedBy;
  }

  /** The lease as every write names it. */
  get name(): { accountId: string; epoch: number } {
    return { accountId: this.claimed.accountId, epoch: this.claimed.epoch };
  }

  /** Whether it is known to be another worker's. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** Whether the worker may start nothing more. */
  get mustEnd(): boolean {
    return this.#options.stopping.aborted || this.#options.interrupted.aborted;
  }

  /** Whether an event may start under it: the worker does not stop, and no pause covers the event. */
  mayStart(event: StoredEvent): boolean {
    return !this.mustEnd && !this.#isLost && this.#pauseOf(event) === null;
  }

  /** Whether an event may go together with the one before it: what lets an account go on for one event lets one go. */
  mayFollow({ type }: StoredEvent): boolean {
    return this.#options.pauses.covering(this.claimed.accountId, type, null) === undefined;
  }

  /** Takes note of an event that is about to start: of a batch, the first one that is not settled. */
  noteStart(event: StoredEvent): void {
    this.startedSeq = event.seq;
    this.#releasedBy = null;
  }

  /** Resolves when the lease is known to be good, or when the turn must end; undefined when it is good. */
  confirmed(): Promise<void> | undefined {
    return this.#options.confirmed() === undefined ? undefined : this.#untilConfirmed();
  }

  /**
   * Records that the handler is about to be called, as late as possible: a worker that dies before that has used up no attempt. A
   * first attempt is not recorded: that would be a write for every event.
   *
   * @returns false when the lease is lost
   */
  async recordStart(event: StoredEvent): Promise<boolean> {
    await this.#untilConfirmed();
    if (this.mustEnd || (await this.#options.ledger.recordStart({ ...this.name, seq: event.seq }))) return true;
    this.noteLost(event, "before the handler was called");
    return false;
  }

  /** Counts a lease that another worker has by now. The event will be handled again. */
  noteLost(event: StoredEvent, when: string): void {
    this.#isLost = true;
    this.#options.metrics?.lostLease();
    this.#options.log.warn({ ...this.name, seq: event.seq }, `lease lost ${when}; the event will be handled again`);
  }

  /**
   * Ends the lease while events are pending.
   *
   * @param failure why the head has to wait; null when it may go on at once
   * @param forgives whether the attempt under way does not count
   * @param pausedBy the pause because of which the account rests
   */
  async giveBack(
    failure: HeadFailure | null,
    { forgives = failure === null, pausedBy = null }: { forgives?: boolean; pausedBy?: number | null } = {},
  ): Promise<void> {
    await this.#options.ledger.giveBack({ ...this.name, startedSeq: this.startedSeq, failure, forgives, pausedBy });
  }

  /** Gives the account back in front of an event that may not start; because of a pause it rests until that has ended. */
  async endBefore(event: StoredEvent): Promise<void> {
    await this.giveBack(null, { pausedBy: this.#pauseOf(event) });
  }

  /** Gives the account back for a while: what the head needed could not be had, and it loses no attempt. */
  async rest(failure: Pick<HeadFailure, "message" | "waitMs" | "isOfEvent">): Promise<void> {
    await this.giveBack({ ...failure, state: "retrying", target: null }, { forgives: true });
  }

  /** Too many accounts wait for memory already: this one leaves its slot to others for a while. */
  async restForMemory(): Promise<void> {
    const message = "the worker had no room for so large an event; it comes again";
    await this.rest({ message, waitMs: MEMORY_REST_MS * (0.5 + Math.random()), isOfEvent: false });
  }

  #pauseOf({ type }: StoredEvent): number | null {
    return this.#options.pauses.covering(this.claimed.accountId, type, this.#releasedBy)?.id ?? null;
  }

  async #untilConfirmed(): Promise<void> {
    const { confirmed } = this.#options;
    for (let wait = confirmed(); wait !== undefined && !this.mustEnd; wait = confirmed()) await wait;
  }
}

/**
 * Gives back the account of a turn that broke off. What its last statement did is unknown, and nobody else takes the account as long
 * as this worker lives.
 *
 * @param lease undefined when the claim itself broke
 */
export async function giveBackBroken(
  options: TurnOptions,
  accountId: string,
  lease: HeldLease | undefined,
  error: unknown,
): Promise<void> {
  const message = `the turn broke off: ${error instanceof Error ? error.message : textOf(error)}`;
  const failure: HeadFailure = { message, isOfEvent: false, state: "retrying", waitMs: REST_MS, target: null };
  const { epoch = null } = lease?.name ?? {};
  await options.ledger
    .giveBack({ accountId, epoch, startedSeq: lease?.startedSeq ?? null, failure, forgives: false })
    .catch((failed: unknown) => options.log.error({ err: failed, accountId }, "the account could not be given back"));
}
