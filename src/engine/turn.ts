/**
 * A turn: what a worker does with an account under one lease. It claims the account, then handles and settles one event after
 * the other, or one batch, in seq order, until nothing is pending, others wait, or the worker stops.
 */
import assert from "node:assert/strict";
import type { HeadFailure } from "../db/give-back.ts";
import type { TransactionClient } from "../db/pool.ts";
import type { Settled } from "../db/settle.ts";
import type { Settlement } from "../db/settle-statement.ts";
import type { StoredEvent } from "../domain/event.ts";
import { giveUp, type RetryRule, type Verdict } from "../domain/failure.ts";
import { isUnavailable } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import { textOf } from "../errors/text.ts";
import { type Call, type CallFailure, callHandler } from "./call.ts";
import { DatabaseClock } from "./database-clock.ts";
import { cutBatch, type HandlerBatch, handlerFor, readBatchFailure } from "./handler-batch.ts";
import { Head } from "./head.ts";
import { headFailureOf, waitingAfter, waitingFor } from "./head-failure.ts";
import { giveBackBroken, HeldLease, REST_MS } from "./held-lease.ts";
import { type Begun, type Next, Settling, type Timing } from "./settling.ts";
import type { TurnOptions } from "./turn-options.ts";

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

/** One turn under way: its lease, how far it has come, and the head of its account. */
class Turn {
  readonly #options: TurnOptions;
  readonly #lease: HeldLease;
  readonly #clock: DatabaseClock;
  readonly #head: Head;
  readonly #settling: Settling;
  #call: Call | undefined;

  constructor(options: TurnOptions, lease: HeldLease) {
    this.#options = options;
    this.#lease = lease;
    this.#clock = new DatabaseClock(lease.claimed.databaseUs);
    this.#head = new Head(options.targets, lease.claimed);
    this.#settling = new Settling(options, { lease, head: this.#head, clock: this.#clock });
  }

  /** Handles events until the turn has ended, and passes on to the handler what the worker tells all of them. */
  async run(): Promise<void> {
    const { interrupted, abandoned } = this.#options;
    const interrupt = () => this.#call?.interrupt(interrupted.reason);
    const abandon = () => this.#call?.abandon();
    interrupted.addEventListener("abort", interrupt, { once: true });
    abandoned.addEventListener("abort", abandon, { once: true });
    try {
      while ((await this.#readAndHandle()) === "continue");
    } catch (error) {
      await this.#settling.breakOff();
      throw error;
    } finally {
      interrupted.removeEventListener("abort", interrupt);
      abandoned.removeEventListener("abort", abandon);
    }
  }

  /** What was read ahead. A running account always has a pending event: the settle of the last one ends the turn. */
  async #readAndHandle(): Promise<Next> {
    const { accountId } = this.#lease.claimed;
    const { ledger, stopping, interrupted } = this.#options;
    const read = await ledger.read({ accountId, afterSeq: this.#settling.doneSeq }, [stopping, interrupted]);
    if (read === undefined) {
      await (this.#lease.mustEnd ? this.#lease.giveBack(null) : this.#lease.restForMemory());
      return "ended";
    }
    try {
      const firstSeq = this.#settling.doneSeq + 1;
      assert(read.events.length > 0, `account ${accountId} runs, but has no event after seq ${firstSeq - 1}`);
      for (;;) {
        const seq = this.#settling.doneSeq + 1;
        const event = read.events[seq - firstSeq];
        if (event === undefined) return await this.#settling.finish();
        assert(event.seq === seq, `account ${accountId} lacks seq ${seq}`);
        if ((await this.#handleNext(event, read.events)) === "ended") return "ended";
      }
    } finally {
      read.release();
    }
  }

  /** Handles one event, if the worker may start it, together with those that may go with it. */
  async #handleNext(event: StoredEvent, ahead: readonly StoredEvent[]): Promise<Next> {
    const rule = this.#options.ruleOf(event.type);
    const { target } = this.#head;
    if (!this.#settling.mayGoAhead(rule) && (await this.#settling.finish()) === "ended") return "ended";
    if (!this.#lease.mayStart(event)) return await this.#end(() => this.#lease.endBefore(event));
    const entry = target.mayStart(rule);
    if (entry !== true && !(await entry)) return await this.#giveBack(waitingFor(target.nameFor(rule)));
    if (this.#head.attempt > 1 && !(await this.#lease.recordStart(event))) return "ended";
    // Nothing comes between the last check of the lease and the start: a process may be stopped at any moment.
    const confirmed = this.#lease.confirmed();
    if (confirmed !== undefined) await confirmed;
    if (!this.#lease.mayStart(event)) return await this.#end(() => this.#lease.endBefore(event));
    if (this.#head.areAttemptsUsedUp(rule)) return await this.#endAttempts(event, rule);
    return await this.#handle(this.#batchFrom(event, ahead, rule), rule);
  }

  /** An event that has failed comes alone, so that it is known whose fault it is; and so does one that tries its target. */
  #batchFrom(event: StoredEvent, ahead: readonly StoredEvent[], rule: RetryRule): HandlerBatch {
    const { batch, ruleOf } = this.#options;
    if (batch === undefined || rule.push !== undefined) return [event];
    if (this.#head.attempt > 1 || this.#head.target.isProbe) return [event];
    return cutBatch(ahead, event, {
      eventsMax: Math.min(batch.eventsMax, this.#settling.togetherMax),
      bytesMax: batch.bytesMax,
      mayFollow: (next) => ruleOf(next.type) === rule && this.#lease.mayFollow(next),
    });
  }

  async #handle(batch: HandlerBatch, rule: RetryRule): Promise<Next> {
    const { log, metrics } = this.#options;
    this.#lease.noteStart(batch[0]);
    const begun = this.#settling.begin();
    let settlement: Settlement | undefined;
    const settlementOf = () => (settlement = this.#settling.inTransaction(batch, begun.timing(batch.length)));
    this.#call = callHandler({
      handle: handlerFor(rule, this.#options),
      events: batch,
      attempt: this.#head.attempt,
      epoch: this.#lease.name.epoch,
      handlerTimeoutMs: rule.handlerTimeoutMs,
      log,
      transact: (work, signal) => this.#transact(settlementOf, work, signal),
    });
    const ended = await this.#call.ended;
    if (ended.end !== "abandoned" && ended.end !== "hindered")
      metrics?.attempted((performance.now() - begun.startedMs) / 1_000);
    if (ended.end === "done") {
      const timing = begun.timing(batch.length);
      await this.#head.target.succeeded(rule);
      this.#settling.add(batch, timing, rule);
      return "continue";
    }
    if (ended.end === "settled") {
      await this.#head.target.succeeded(rule);
      const next = this.#settling.note(batch, settlement ?? settlementOf(), ended.settled);
      // The handler's own transaction has kept the lease until here.
      return next === "continue" ? next : await this.#giveBack(null);
    }
    if (ended.end === "failed") return await this.#failBatch(batch, rule, ended, begun);
    if (ended.end === "hindered") return await this.#restForTransaction(batch[0], ended.error);
    return await this.#giveBack(null);
  }

  /** A settle in a transaction of the handler's is that of the account's next event: everything before is settled first. */
  async #transact<Result>(
    settlementOf: () => Settlement,
    work: (client: TransactionClient) => Promise<Result>,
    signal: AbortSignal,
  ): Promise<{ result: Result; settled: Settled }> {
    if ((await this.#settling.finish({ keepsLease: true })) === "ended")
      throw new InturnError(
        "lease_lost",
        "The account is another worker's by now; nothing of the transaction was written.",
      );
    return await this.#options.transactions.settleWith(settlementOf, work, signal);
  }

  /** What went well is settled, and the event after it has failed. Where all of it was rolled back, what went well comes again first. */
  async #failBatch(batch: HandlerBatch, rule: RetryRule, failed: CallFailure, begun: Begun): Promise<Next> {
    const { handled, error } = readBatchFailure(failed.error, batch);
    const [first, ...others] = batch.slice(0, handled);
    if (first !== undefined && failed.isRolledBack) {
      this.#settling.togetherMax = handled;
      return "continue";
    }
    const timing = begun.timing(batch.length);
    if (first !== undefined) {
      await this.#head.target.succeeded(rule);
      this.#settling.add([first, ...others], timing, rule);
    }
    if ((await this.#settling.finish({ keepsLease: true })) === "ended") return "ended";
    const event = batch[handled] ?? batch[0];
    this.#lease.noteStart(event);
    return await this.#fail(event, rule, error, timing);
  }

  async #fail(event: StoredEvent, rule: RetryRule, error: unknown, timing: Timing): Promise<Next> {
    const { message, away, verdict, target } = await this.#head.judge(rule, error);
    const failed = { ...this.#lease.name, seq: event.seq, attempt: this.#head.attempt, error: message, ...verdict };
    this.#options.log.warn(failed, "the handler failed");
    if (away !== null) {
      this.#options.metrics?.failed("wait");
      return await this.#giveBack(waitingAfter(away, message, timing.startedUs), true);
    }
    return await this.#carryOut(verdict, { event, message, timing, target });
  }

  /** The attempts were used up by workers that died: this one does not try. */
  async #endAttempts(event: StoredEvent, rule: RetryRule): Promise<Next> {
    this.#head.withdraw();
    const { attempt } = this.#head;
    const message = `its ${attempt} attempts are used up: the worker was gone before the last one ended`;
    this.#options.log.warn({ ...this.#lease.name, seq: event.seq, attempts: attempt }, message);
    const timing = { startedUs: null, durationMs: null, unsettledBefore: 0 };
    return await this.#carryOut(giveUp(rule), { event, message, timing, target: null });
  }

  async #carryOut(
    verdict: Verdict,
    { event, message, timing, target }: { event: StoredEvent; message: string; timing: Timing; target: string | null },
  ): Promise<Next> {
    this.#options.metrics?.failed(verdict.next);
    const failure = headFailureOf(verdict, { message, target, startedUs: timing.startedUs });
    if (failure !== undefined) return await this.#giveBack(failure, verdict.next === "snooze");
    return await this.#settling.setAside(event, timing, message);
  }

  /** What the handler needed could not be had: the account waits a little, and its event loses no attempt. */
  async #restForTransaction(event: StoredEvent, error: unknown): Promise<Next> {
    const named = { ...this.#lease.name, seq: event.seq, err: error };
    this.#options.log.warn(named, "no transaction could begin; the event comes again");
    const rest = { message: textOf(error), waitMs: REST_MS, isOfEvent: true };
    return await this.#end(() => this.#lease.rest(rest));
  }

  #giveBack(failure: HeadFailure | null, forgives = failure === null): Promise<"ended"> {
    return this.#end(() => this.#lease.giveBack(failure, { forgives }));
  }

  /** Ends the lease while events are pending, after what is done was settled. */
  async #end(end: () => Promise<void>): Promise<"ended"> {
    if ((await this.#settling.finish({ keepsLease: true })) === "continue") await end();
    return "ended";
  }
}
