import { setImmediate as nextRound } from "node:timers/promises";
import type { Settled } from "../db/settle.ts";
import type { SettledCall, Settlement } from "../db/settle-statement.ts";
import type { StoredEvent } from "../domain/event.ts";
import type { RetryRule } from "../domain/failure.ts";
import { shouldYield } from "../domain/turn.ts";
import type { DatabaseClock } from "./database-clock.ts";
import type { HandlerBatch } from "./handler-batch.ts";
import type { Head } from "./head.ts";
import type { HeldLease } from "./held-lease.ts";
import type { TurnOptions } from "./turn-options.ts";

/** Whether the turn continues after a step, or has ended: then the lease is settled away, given back, or lost. */
export type Next = "continue" | "ended";

/** When a handler was called, and how long each of its events took; nulls when it was not called. */
export type Timing = Pick<SettledCall, "startedUs" | "durationMs" | "unsettledBefore">;

/** A call of the handler that is under way. */
export interface Begun {
  readonly startedMs: number;
  /** Its timing, when it has ended now and had so many events. */
  timing(events: number): Timing;
}

/** A call that went well, and is not settled yet. */
interface Done {
  readonly batch: HandlerBatch;
  readonly call: SettledCall;
}

/**
 * A turn's settles: what they say, how far the turn has come by them, and whether it makes room for others.
 *
 * As a rule every call is settled before the next one begins. A type's `unsettledMax` above 1 lets calls begin while the settles of
 * those before are on their way: one settle at a time, of all that is done by then, so that they stay in order.
 */
export class Settling {
  /** Up to here the account's events were handled, or set aside. */
  doneSeq: number;
  /** Events that may go together until the next settle: fewer when a batch failed further on and nothing of it was kept. */
  togetherMax: number = Number.POSITIVE_INFINITY;
  readonly #options: TurnOptions;
  readonly #lease: HeldLease;
  readonly #head: Head;
  readonly #clock: DatabaseClock;
  readonly #beganMs = performance.now();
  #settledEvents = 0;
  /** Of what is done, what no settle has in hand. */
  #done: Done[] = [];
  /** Events that are done and not settled. */
  #unsettled = 0;
  /** The least that any of them allows. */
  #unsettledMax: number = Number.POSITIVE_INFINITY;
  /** When the last of them ended. */
  #endedUs = 0;
  /** Whether another call is under way: no settle may end the lease. */
  #goesOn = false;
  #sending: Promise<void> | undefined;
  /** What the last settle on its way came to. */
  #next: Next = "continue";
  #failure: { error: unknown } | undefined;

  constructor(options: TurnOptions, parts: { lease: HeldLease; head: Head; clock: DatabaseClock }) {
    this.#options = options;
    this.#lease = parts.lease;
    this.#head = parts.head;
    this.#clock = parts.clock;
    this.doneSeq = parts.lease.claimed.processedSeq;
  }

  /** Whether the next event may begin before everything that is done is settled. */
  mayGoAhead(rule: RetryRule): boolean {
    if (this.#unsettled === 0) return true;
    const { balance } = this.#options;
    const isRoom = this.#unsettled < Math.min(this.#unsettledMax, rule.unsettledMax);
    if (!isRoom || this.#failure !== undefined) return false;
    // What was tried before may be what ends workers: then every event of the turn is settled before the next one.
    return this.#lease.claimed.attempt === 1 && !this.#isOver() && balance?.isUneven !== true;
  }

  /** Takes note that the handler is called now. What is done goes on its way to be settled. */
  begin(): Begun {
    const startedMs = performance.now();
    const unsettledBefore = this.#unsettled;
    const nowUs = this.#clock.at(startedMs);
    const startedUs = unsettledBefore > 0 ? Math.max(nowUs, this.#endedUs) : nowUs;
    if (this.#done.length > 0) {
      this.#goesOn = true;
      this.#sending ??= this.#send();
    }
    const timing = (events: number) => {
      const durationMs = (performance.now() - startedMs) / events;
      return { startedUs, durationMs, unsettledBefore };
    };
    return { startedMs, timing };
  }

  /** Takes note of a call that went well: the next event is the head now, at its first attempt. */
  add(batch: HandlerBatch, timing: Timing, rule: RetryRule): void {
    const call = this.#callOf(batch, timing);
    this.#done.push({ batch, call });
    this.#unsettled += batch.length;
    this.#unsettledMax = Math.min(this.#unsettledMax, rule.unsettledMax);
    this.#endedUs = (call.startedUs ?? 0) + Math.ceil((call.durationMs ?? 0) * batch.length * 1_000);
    this.#cameTo(call.seq);
  }

  /**
   * Resolves when everything that is done is settled.
   *
   * @param how.keepsLease whether the lease is needed afterwards, whatever becomes of the account
   * @throws what the settle threw
   */
  async finish({ keepsLease = false } = {}): Promise<Next> {
    this.#goesOn = keepsLease;
    while (this.#sending !== undefined) await this.#sending;
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#lease.isLost) return "ended";
    return this.#done.length === 0 ? this.#next : await this.#settleDone();
  }

  /** Settles what is done, if that can be; nothing of what is left counts as started. Never rejects. */
  async breakOff(): Promise<void> {
    await this.finish({ keepsLease: true }).catch(() => undefined);
    if (this.#unsettled > 0) this.#lease.startedSeq = this.doneSeq - this.#unsettled + 1;
  }

  /** Settles an event that is set aside. Everything before it is settled. */
  async setAside(event: StoredEvent, timing: Timing, error: string): Promise<Next> {
    const settlement = this.#settlementOf([this.#callOf([event], timing)], "dead", {
      error,
      more: 1,
      keepsLease: false,
    });
    return this.note([event], settlement, await this.#options.ledger.settle(settlement));
  }

  /** What a settle inside a handler's own transaction says. Everything before it is settled. */
  inTransaction(batch: HandlerBatch, timing: Timing): Settlement {
    const how = { error: null, more: batch.length, keepsLease: true };
    return this.#settlementOf([this.#callOf(batch, timing)], "processed", how);
  }

  /** Takes note of the answer to a settle of events that no `add` has told of. */
  note(batch: HandlerBatch, settlement: Settlement, settled: Settled | undefined): Next {
    this.#cameTo(settlement.seq);
    const [call] = settlement.calls;
    return this.#note([{ batch, call }], settlement, settled);
  }

  /** Settles what is done while the next calls are under way, and then what they have done. Never rejects. */
  async #send(): Promise<void> {
    try {
      do {
        // What ends in this round of events shares the settle.
        await nextRound();
        this.#next = await this.#settleDone();
      } while (this.#done.length > 0 && !this.#lease.isLost);
    } catch (error) {
      this.#failure = { error };
    }
    this.#sending = undefined;
  }

  async #settleDone(): Promise<Next> {
    const done = this.#done;
    const [first, ...others] = done;
    if (first === undefined) return "continue";
    this.#done = [];
    const keepsLease = this.#goesOn;
    const calls: Settlement["calls"] = [first.call, ...others.map(({ call }) => call)];
    const settlement = this.#settlementOf(calls, "processed", { error: null, more: 0, keepsLease });
    const settled = await this.#options.ledger.settle(settlement);
    if (settled !== undefined) for (const { batch } of done) this.#unsettled -= batch.length;
    if (this.#unsettled === 0) this.#unsettledMax = Number.POSITIVE_INFINITY;
    const next = this.#note(done, settlement, settled);
    return keepsLease && settled !== undefined ? "continue" : next;
  }

  /** @param how.more events that it settles, and no `add` has told of */
  #settlementOf(
    calls: Settlement["calls"],
    outcome: Settlement["outcome"],
    { error, more, keepsLease }: { error: string | null; more: number; keepsLease: boolean },
  ): Settlement {
    const { accountId, epoch } = this.#lease.claimed;
    const { balance } = this.#options;
    const { seq } = calls.at(-1) ?? calls[0];
    const yields = !this.#goesOn && (this.#isOver(more) || balance?.takesOne() === true);
    return { accountId, epoch, seq, calls, outcome, error, yields, keepsLease };
  }

  #note(done: readonly Done[], { outcome }: Settlement, settled: Settled | undefined): Next {
    const [first] = done;
    if (settled === undefined) {
      if (first !== undefined) this.#lease.noteLost(first.batch[0], "before the event was settled");
      return "ended";
    }
    for (const { batch, call } of done) {
      const { startedUs } = call;
      for (const { receivedAt } of batch) {
        const waitSeconds =
          startedUs === null ? null : Math.max(0, startedUs / 1_000_000 - receivedAt.getTime() / 1_000);
        this.#options.metrics?.settled(outcome, waitSeconds);
      }
      this.#settledEvents += batch.length;
    }
    this.#clock.hear(settled.databaseUs);
    return settled.state === "running" ? "continue" : "ended";
  }

  #callOf(batch: HandlerBatch, { startedUs, durationMs, unsettledBefore }: Timing): SettledCall {
    const fromSeq = batch[0].seq;
    const seq = fromSeq + batch.length - 1;
    return { fromSeq, seq, attempts: this.#head.attempt, startedUs, durationMs, unsettledBefore };
  }

  #cameTo(seq: number): void {
    this.doneSeq = seq;
    this.togetherMax = Number.POSITIVE_INFINITY;
    this.#head.settled();
  }

  /** Whether the turn has had its share with the events that are done, and so many more. */
  #isOver(more = 0): boolean {
    return shouldYield({
      events: this.#settledEvents + this.#unsettled + more,
      elapsedMs: performance.now() - this.#beganMs,
      crowded: this.#options.isCrowded(),
      stopping: this.#options.stopping.aborted,
    });
  }
}
