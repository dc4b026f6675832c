import type { Settled, Settlement } from "../db/settle.ts";
import { shouldYield } from "../domain/turn.ts";
import type { DatabaseClock } from "./database-clock.ts";
import type { HandlerBatch } from "./handler-batch.ts";
import type { Head } from "./head.ts";
import type { HeldLease } from "./held-lease.ts";
import type { TurnOptions } from "./turn-options.ts";

/** Whether the turn continues after a step, or has ended: then the lease is settled away, given back, or lost. */
export type Next = "continue" | "ended";

/** When a handler was called, and how long each of its events took; nulls when it was not called. */
export type Timing = Pick<Settlement, "startedUs" | "durationMs">;

/** A turn's settles: what they say, how far the turn has come by them, and whether it makes room for others. */
export class Settling {
  /** Up to here the account's events are settled. */
  settledSeq: number;
  /** Events that may go together until the next settle: fewer when a batch failed further on and nothing of it was kept. */
  togetherMax: number = Number.POSITIVE_INFINITY;
  readonly #options: TurnOptions;
  readonly #lease: HeldLease;
  readonly #head: Head;
  readonly #clock: DatabaseClock;
  readonly #beganMs = performance.now();
  #settledEvents = 0;

  constructor(options: TurnOptions, parts: { lease: HeldLease; head: Head; clock: DatabaseClock }) {
    this.#options = options;
    this.#lease = parts.lease;
    this.#head = parts.head;
    this.#clock = parts.clock;
    this.settledSeq = parts.lease.claimed.processedSeq;
  }

  /** The settle of events that went well. */
  settlementOf(batch: HandlerBatch, timing: Timing): Settlement {
    const [{ seq }] = batch;
    return {
      ...this.#lease.name,
      ...timing,
      seq: seq + batch.length - 1,
      ...(batch.length > 1 && { fromSeq: seq }),
      outcome: "processed",
      error: null,
      attempts: this.#head.attempt,
      yields: this.#yieldsWith(batch.length),
      keepsLease: false,
    };
  }

  /** Settles. */
  async settle(batch: HandlerBatch, settlement: Settlement): Promise<Next> {
    return this.note(batch, settlement, await this.#options.ledger.settle(settlement));
  }

  /** Takes note of a settle's answer: the next event is the head now, at its first attempt. */
  note(batch: HandlerBatch, settlement: Settlement, settled: Settled | undefined): Next {
    if (settled === undefined) {
      this.#lease.noteLost(batch[0], "before the event was settled");
      return "ended";
    }
    const { startedUs, outcome } = settlement;
    for (const { receivedAt } of batch) {
      const waitSeconds = startedUs === null ? null : Math.max(0, startedUs / 1_000_000 - receivedAt.getTime() / 1_000);
      this.#options.metrics?.settled(outcome, waitSeconds);
    }
    this.#settledEvents += batch.length;
    this.#head.settled();
    this.settledSeq = settlement.seq;
    this.togetherMax = Number.POSITIVE_INFINITY;
    this.#clock.hear(settled.databaseUs);
    return settled.state === "running" ? "continue" : "ended";
  }

  /** Whether the turn ends with the events that are being settled, although more may be pending. */
  #yieldsWith(events: number): boolean {
    return shouldYield({
      events: this.#settledEvents + events,
      elapsedMs: performance.now() - this.#beganMs,
      crowded: this.#options.isCrowded(),
      stopping: this.#options.stopping.aborted,
    });
  }
}
