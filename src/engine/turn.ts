/**
 * A turn: what a worker does with an account under one lease. It claims the account, then handles and settles one event after
 * the other, in seq order, until nothing is pending, others wait, or the worker stops.
 */
import assert from "node:assert/strict";
import type { HeadFailure } from "../db/give-back.ts";
import type { Settled, Settlement } from "../db/settle.ts";
import type { StoredEvent } from "../domain/event.ts";
import { areAttemptsUsedUp, giveUp, judgeFailure, type RetryRule, type Verdict } from "../domain/failure.ts";
import { isUnavailable } from "../errors/database.ts";
import { retryWishOf } from "../errors/retry.ts";
import { textOf } from "../errors/text.ts";
import { type Call, callHandler } from "./call.ts";
import { DatabaseClock } from "./database-clock.ts";
import { headFailureOf, waitingAfter, waitingFor } from "./head-failure.ts";
import { HeadTarget } from "./head-target.ts";
import { giveBackBroken, HeldLease, REST_MS } from "./held-lease.ts";
import type { TurnOptions } from "./turn-options.ts";
import { TurnPace } from "./turn-pace.ts";

/** Whether the turn continues after a step, or has ended: then the lease is settled away, given back, or lost. */
type Next = "continue" | "ended";

/** When a handler was called, and how long it took; nulls when it was not called. */
type Timing = Pick<Settlement, "startedUs" | "durationMs">;

/**
 * Runs one turn of an account, if its lease can be had. Resolves when the lease has ended, in whichever way; never rejects.
 *
 * @returns false when the turn broke off: what the database made of its last statement is not known
 */
export async function runTurn(options: TurnOptions, accountId: string): Promise<boolean> {
  let lease: HeldLease | undefined;
  try {
    const claimed = await options.ledger.claim(accountId);
    if (claimed === undefined) return true;
    lease = new HeldLease(options, claimed);
    await new Turn(options, lease).run();
    return true;
  } catch (error) {
    const level = isUnavailable(error) ? "warn" : "error";
    options.log[level]({ err: error, accountId }, "a turn broke off; its account is given back");
    await giveBackBroken(options, accountId, lease, error);
    return false;
  }
}

/** One turn under way: its lease, how far it has come, and the attempt that the head is at. */
class Turn {
  readonly #options: TurnOptions;
  readonly #lease: HeldLease;
  readonly #clock: DatabaseClock;
  readonly #pace: TurnPace;
  /** The attempt that the head is at, and how many attempts before it no longer count. */
  #attempt: number;
  #forgiven: number;
  readonly #target: HeadTarget;
  #snoozedMs: number;
  #call: Call | undefined;

  constructor(options: TurnOptions, lease: HeldLease) {
    const { databaseUs, attempt, attemptsForgiven, snoozedMs } = lease.claimed;
    this.#options = options;
    this.#lease = lease;
    this.#clock = new DatabaseClock(databaseUs);
    this.#pace = new TurnPace(options);
    this.#attempt = attempt;
    this.#forgiven = attemptsForgiven;
    this.#target = new HeadTarget(options.targets, lease.claimed);
    this.#snoozedMs = snoozedMs ?? 0;
  }

  /** Handles events until the turn has ended, and passes on to the handler what the worker tells all of them. */
  async run(): Promise<void> {
    const { interrupted, abandoned } = this.#options;
    const interrupt = () => this.#call?.interrupt(interrupted.reason);
    const abandon = () => this.#call?.abandon();
    interrupted.addEventListener("abort", interrupt, { once: true });
    abandoned.addEventListener("abort", abandon, { once: true });
    try {
      await this.#handleAll();
    } finally {
      interrupted.removeEventListener("abort", interrupt);
      abandoned.removeEventListener("abort", abandon);
    }
  }

  /** Batch by batch. A running account always has a pending event: the settle of the last one ends the turn. */
  async #handleAll(): Promise<void> {
    const { accountId, processedSeq } = this.#lease.claimed;
    const { ledger, stopping, interrupted } = this.#options;
    for (let settledSeq = processedSeq; ; ) {
      const batch = await ledger.read({ accountId, afterSeq: settledSeq }, [stopping, interrupted]);
      if (batch === undefined)
        return await (this.#lease.mustEnd ? this.#lease.giveBack(null) : this.#lease.restForMemory());
      try {
        assert(batch.events.length > 0, `account ${accountId} runs, but has no event after seq ${settledSeq}`);
        for (const event of batch.events) {
          assert(event.seq === settledSeq + 1, `account ${accountId} lacks seq ${settledSeq + 1}`);
          if ((await this.#handleNext(event)) === "ended") return;
          settledSeq = event.seq;
        }
      } finally {
        batch.release();
      }
    }
  }

  /** Handles one event, if the worker may start it. */
  async #handleNext(event: StoredEvent): Promise<Next> {
    const rule = this.#options.ruleOf(event.type);
    if (!this.#lease.mayStart(event)) return await this.#lease.endBefore(event);
    const entry = this.#target.mayStart(rule);
    if (entry !== true && !(await entry)) return await this.#giveBack(waitingFor(this.#target.nameFor(rule)));
    if (this.#attempt > 1 && !(await this.#lease.recordStart(event))) return "ended";
    // Nothing comes between the last check of the lease and the start: a process may be stopped at any moment.
    const confirmed = this.#lease.confirmed();
    if (confirmed !== undefined) await confirmed;
    if (!this.#lease.mayStart(event)) return await this.#lease.endBefore(event);
    if (areAttemptsUsedUp({ rule, attempt: this.#attempt, forgiven: this.#forgiven })) {
      return await this.#endAttempts(event, rule);
    }
    return await this.#handle(event, rule);
  }

  async #handle(event: StoredEvent, rule: RetryRule): Promise<Next> {
    const { handler, log, transactions, metrics } = this.#options;
    this.#lease.noteStart(event);
    const startedMs = performance.now();
    const startedUs = this.#clock.at(startedMs);
    const timing = () => ({ startedUs, durationMs: performance.now() - startedMs });
    let settling: Settlement | undefined;
    const settlement = () => (settling = this.#settlementOf(event, timing()));
    this.#call = callHandler({
      handler,
      event,
      attempt: this.#attempt,
      epoch: this.#lease.name.epoch,
      handlerTimeoutMs: rule.handlerTimeoutMs,
      log,
      transact: (work, signal) => transactions.settleWith(() => ({ ...settlement(), keepsLease: true }), work, signal),
    });
    const ended = await this.#call.ended;
    if (ended.end !== "abandoned" && ended.end !== "hindered")
      metrics?.attempted((performance.now() - startedMs) / 1_000);
    switch (ended.end) {
      case "done":
        settling = settlement();
        await this.#target.succeeded(rule);
        return await this.#settle(event, settling);
      case "settled": {
        await this.#target.succeeded(rule);
        const next = this.#noteSettled(event, settling ?? settlement(), ended.settled);
        // The handler's own transaction has kept the lease until here.
        return next === "continue" ? next : await this.#giveBack(null);
      }
      case "failed":
        return await this.#fail(event, rule, ended.error, timing());
      case "hindered":
        return await this.#restForTransaction(event, ended.error);
      case "abandoned":
        return await this.#giveBack(null);
    }
  }

  /** The settle of an event that went well. */
  #settlementOf(event: StoredEvent, timing: Timing): Settlement {
    return {
      ...this.#lease.name,
      ...timing,
      seq: event.seq,
      outcome: "processed",
      error: null,
      attempts: this.#attempt,
      yields: this.#pace.yieldsNow(),
      keepsLease: false,
    };
  }

  async #settle(event: StoredEvent, settlement: Settlement): Promise<Next> {
    return this.#noteSettled(event, settlement, await this.#options.ledger.settle(settlement));
  }

  /** Takes note of a settle's answer: the next event is the head now, at its first attempt. */
  #noteSettled(event: StoredEvent, settlement: Settlement, settled: Settled | undefined): Next {
    if (settled === undefined) {
      this.#lease.noteLost(event, "before the event was settled");
      return "ended";
    }
    const { receivedAt } = event;
    const { startedUs, outcome } = settlement;
    const waitSeconds = startedUs === null ? null : Math.max(0, startedUs / 1_000_000 - receivedAt.getTime() / 1_000);
    this.#options.metrics?.settled(outcome, waitSeconds);
    this.#pace.settled();
    this.#attempt = 1;
    this.#forgiven = 0;
    this.#snoozedMs = 0;
    this.#clock.hear(settled.databaseUs);
    return settled.state === "running" ? "continue" : "ended";
  }

  async #fail(event: StoredEvent, rule: RetryRule, error: unknown, timing: Timing): Promise<Next> {
    const wish = retryWishOf(error, Date.now());
    const message = textOf(error);
    const attempt = this.#attempt - this.#forgiven;
    const verdict = judgeFailure({ rule, attempt, wish, snoozedMs: this.#snoozedMs, random: Math.random() });
    const failed = { ...this.#lease.name, seq: event.seq, attempt: this.#attempt, error: message, ...verdict };
    this.#options.log.warn(failed, "the handler failed");
    const away = await this.#target.failed(rule, { wish, message, isLast: !("inMs" in verdict) });
    if (away !== null) {
      this.#options.metrics?.failed("wait");
      return await this.#giveBack(waitingAfter(away, message, timing.startedUs), true);
    }
    const target = wish !== undefined && "never" in wish ? null : this.#target.nameFor(rule);
    return await this.#carryOut(verdict, { event, message, timing, target });
  }

  /** The attempts were used up by workers that died: this one does not try. */
  async #endAttempts(event: StoredEvent, rule: RetryRule): Promise<Next> {
    this.#attempt -= 1;
    const message = `its ${this.#attempt} attempts are used up: the worker was gone before the last one ended`;
    this.#options.log.warn({ ...this.#lease.name, seq: event.seq, attempts: this.#attempt }, message);
    const timing = { startedUs: null, durationMs: null };
    return await this.#carryOut(giveUp(rule), { event, message, timing, target: null });
  }

  async #carryOut(
    verdict: Verdict,
    { event, message, timing, target }: { event: StoredEvent; message: string; timing: Timing; target: string | null },
  ): Promise<Next> {
    this.#options.metrics?.failed(verdict.next);
    const failure = headFailureOf(verdict, { message, target, startedUs: timing.startedUs });
    if (failure !== undefined) return await this.#giveBack(failure, verdict.next === "snooze");
    return await this.#settle(event, { ...this.#settlementOf(event, timing), outcome: "dead", error: message });
  }

  /** What the handler needed could not be had: the account waits a little, and its event loses no attempt. */
  async #restForTransaction(event: StoredEvent, error: unknown): Promise<Next> {
    const named = { ...this.#lease.name, seq: event.seq, err: error };
    this.#options.log.warn(named, "no transaction could begin; the event comes again");
    await this.#lease.rest({ message: textOf(error), waitMs: REST_MS, isOfEvent: true });
    return "ended";
  }

  async #giveBack(failure: HeadFailure | null, forgives = failure === null): Promise<"ended"> {
    await this.#lease.giveBack(failure, { forgives });
    return "ended";
  }
}
