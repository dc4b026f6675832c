/**
 * A turn: one holding of an account's lease. It reads as the promise does: claim the account, then one event at a time
 * in seq order, handle it and settle it, until nothing is left, others wait, or the worker stops.
 */
import assert from "node:assert/strict";
import type { HeadFailure } from "../db/give-back.ts";
import type { Settlement } from "../db/settle.ts";
import type { StoredEvent } from "../domain/event.ts";
import { areAttemptsUsedUp, giveUp, judgeFailure, type RetryRule, type Verdict } from "../domain/failure.ts";
import { isUnavailable } from "../errors/database.ts";
import { retryWishOf } from "../errors/retry.ts";
import { textOf } from "../errors/text.ts";
import { callHandler } from "./call.ts";
import {
  beginTurn,
  giveBack,
  goesOn,
  leaseOf,
  settlementOf,
  type Timing,
  type Turn,
  type TurnOptions,
} from "./holding.ts";

/** How long an account rests whose turn broke off: whatever broke it must not break it a thousand times a second. */
const BROKEN_TURN_REST_MS = 1_000;

/** How long an account rests for which there was no room in memory, about: looking again costs several writes. */
const MEMORY_REST_MS = 5_000;

/**
 * Runs one turn of an account, if its lease can be had. Resolves when the lease has ended, in whichever way; never rejects.
 *
 * @returns false when the turn broke off: what the database made of its last statement is not known
 */
export async function runTurn(options: TurnOptions, accountId: string): Promise<boolean> {
  let turn: Turn | undefined;
  try {
    const lease = await options.ledger.claim(accountId);
    if (lease === undefined) return true;
    turn = beginTurn(options, lease);
    await listening(turn, handleInOrder(turn));
    return true;
  } catch (error) {
    const level = isUnavailable(error) ? "warn" : "error";
    options.log[level]({ err: error, accountId }, "a turn broke off; its account is given back");
    await giveBackBroken(options, accountId, turn, error);
    return false;
  }
}

/** Passes on to the handler in hand what the worker tells all of them. */
async function listening(turn: Turn, work: Promise<void>): Promise<void> {
  const interrupt = () => turn.call?.interrupt(turn.interrupted.reason);
  const abandon = () => turn.call?.abandon();
  turn.interrupted.addEventListener("abort", interrupt, { once: true });
  turn.abandoned.addEventListener("abort", abandon, { once: true });
  try {
    await work;
  } finally {
    turn.interrupted.removeEventListener("abort", interrupt);
    turn.abandoned.removeEventListener("abort", abandon);
  }
}

/** Batch by batch, until a step ends the turn. A running account always has an event left: the settle of the last one ends the turn. */
async function handleInOrder(turn: Turn): Promise<void> {
  const { accountId } = turn.lease;
  for (let processedSeq = turn.lease.processedSeq; ; ) {
    const batch = await turn.ledger.read({ accountId, afterSeq: processedSeq }, [turn.stopping, turn.interrupted]);
    if (batch === undefined) return await (mustEnd(turn) ? giveBack(turn, null) : restForMemory(turn));
    try {
      assert(batch.events.length > 0, `account ${accountId} runs, but has no event after seq ${processedSeq}`);
      for (const event of batch.events) {
        assert(event.seq === processedSeq + 1, `account ${accountId} lacks seq ${processedSeq + 1}`);
        if (!(await handleNext(turn, event))) return;
        processedSeq = event.seq;
      }
    } finally {
      batch.release();
    }
  }
}

/** Handles the next event, if the turn may go on. Returns whether it goes on after it. */
async function handleNext(turn: Turn, event: StoredEvent): Promise<boolean> {
  if (turn.attempt > 1 && !(await recordStart(turn, event))) return false;
  // Nothing comes between the last look and the start: a process may be stopped at any moment.
  if (turn.confirmed() !== undefined) await untilConfirmed(turn);
  if (!mustEnd(turn)) return await takeStep(turn, event);
  await giveBack(turn, null);
  return false;
}

/** Too many accounts wait for memory already: this one leaves its place to others for a while. */
async function restForMemory(turn: Turn): Promise<void> {
  const message = "the worker had no room for so large an event; it comes again";
  const waitMs = MEMORY_REST_MS * (0.5 + Math.random());
  await giveBack(turn, { message, state: "retrying", waitMs, isOfEvent: false }, { forgives: true });
}

/** Resolves when the lease is known to be good, or when the turn must end. */
async function untilConfirmed(turn: Turn): Promise<void> {
  for (let wait = turn.confirmed(); wait !== undefined && !mustEnd(turn); wait = turn.confirmed()) await wait;
}

/**
 * Records that the handler is about to be called, as late as possible: a worker that dies before has not used up an attempt. A
 * first attempt is not recorded: that would be a write for every event. Returns whether the turn goes on.
 */
async function recordStart(turn: Turn, event: StoredEvent): Promise<boolean> {
  await untilConfirmed(turn);
  if (mustEnd(turn)) return true;
  if (await turn.ledger.recordStart({ ...leaseOf(turn), seq: event.seq })) return true;
  turn.metrics?.lostLease();
  turn.log.warn({ ...leaseOf(turn), seq: event.seq }, "lease lost before the handler was called");
  return false;
}

function mustEnd(turn: Turn): boolean {
  return turn.stopping.aborted || turn.interrupted.aborted;
}

/** Handles one event and settles it. Returns whether the turn goes on. */
async function takeStep(turn: Turn, event: StoredEvent): Promise<boolean> {
  const rule = turn.ruleOf(event.type);
  const head = { rule, attempt: turn.attempt, forgiven: turn.attemptsForgiven };
  if (areAttemptsUsedUp(head)) return await endAttempts(turn, event, rule);
  turn.startedSeq = event.seq;
  const startedMs = performance.now();
  const startedUs = turn.heard.databaseUs + Math.ceil((startedMs - turn.heard.monotonicMs) * 1_000);
  const timing = () => ({ startedUs, durationMs: performance.now() - startedMs });
  let settling: Settlement | undefined;
  const settlement = () => (settling = settlementOf(turn, event, timing()));
  turn.call = callHandler({
    handler: turn.handler,
    event,
    attempt: turn.attempt,
    epoch: turn.lease.epoch,
    handlerTimeoutMs: rule.handlerTimeoutMs,
    log: turn.log,
    transact: (work, signal) =>
      turn.transactions.settleWith(() => ({ ...settlement(), keepsLease: true }), work, signal),
  });
  const ended = await turn.call.ended;
  if (ended.end !== "abandoned" && ended.end !== "hindered")
    turn.metrics?.attempted((performance.now() - startedMs) / 1_000);
  switch (ended.end) {
    case "done":
      return await settle(turn, event, settlement());
    case "settled":
      if (goesOn(turn, ended.settled, event, settling ?? settlement())) return true;
      await giveBack(turn, null);
      return false;
    case "failed":
      return await fail(turn, event, { rule, error: ended.error, timing: timing() });
    case "hindered":
      await rest(turn, event, ended.error);
      return false;
    case "abandoned":
      await giveBack(turn, null);
      return false;
  }
}

/** What the handler needed could not be had: the account rests a little, and its event loses no attempt. */
async function rest(turn: Turn, event: StoredEvent, error: unknown): Promise<void> {
  turn.log.warn({ ...leaseOf(turn), seq: event.seq, err: error }, "no transaction could begin; the event comes again");
  const failure = { message: textOf(error), state: "retrying", waitMs: BROKEN_TURN_REST_MS } as const;
  await giveBack(turn, failure, { forgives: true });
}

async function settle(turn: Turn, event: StoredEvent, settlement: Settlement): Promise<boolean> {
  return goesOn(turn, await turn.ledger.settle(settlement), event, settlement);
}

async function fail(
  turn: Turn,
  event: StoredEvent,
  failure: { rule: RetryRule; error: unknown; timing: Timing },
): Promise<boolean> {
  const { rule, error, timing } = failure;
  const attempt = turn.attempt - turn.attemptsForgiven;
  const verdict = judgeFailure({ rule, attempt, wish: retryWishOf(error, Date.now()), random: Math.random() });
  const message = textOf(error);
  const failed = { ...leaseOf(turn), seq: event.seq, attempt: turn.attempt, error: message, ...verdict };
  turn.log.warn(failed, "the handler failed");
  return await carryOut(turn, event, { verdict, message, timing });
}

/** The attempts were used up by workers that died: this one does not try. */
async function endAttempts(turn: Turn, event: StoredEvent, rule: RetryRule): Promise<boolean> {
  turn.attempt -= 1;
  const message = `its ${turn.attempt} attempts are used up: the worker was gone before the last one ended`;
  turn.log.warn({ ...leaseOf(turn), seq: event.seq, attempts: turn.attempt }, message);
  const timing = { startedUs: null, durationMs: null };
  return await carryOut(turn, event, { verdict: giveUp(rule), message, timing });
}

/** Does with a failed head what was decided. Returns whether the turn goes on. */
async function carryOut(
  turn: Turn,
  event: StoredEvent,
  failure: { verdict: Verdict; message: string; timing: Timing },
): Promise<boolean> {
  const { verdict, message, timing } = failure;
  turn.metrics?.failed(verdict.next);
  switch (verdict.next) {
    case "retry":
      await giveBack(turn, { message, state: "retrying", waitMs: verdict.inMs });
      return false;
    case "block":
      await giveBack(turn, { message, state: "blocked", waitMs: null });
      return false;
    case "park":
      await giveBack(turn, { message, state: "blocked", waitMs: verdict.forMs });
      return false;
    case "dead-letter":
      return await settle(turn, event, { ...settlementOf(turn, event, timing), outcome: "dead", error: message });
  }
}

/** What a broken statement did is unknown. As long as this worker lives nobody else may take the account, so it must let go. */
async function giveBackBroken(options: TurnOptions, accountId: string, turn: Turn | undefined, error: unknown) {
  const message = `the turn broke off: ${error instanceof Error ? error.message : textOf(error)}`;
  const failure: HeadFailure = { message, isOfEvent: false, state: "retrying", waitMs: BROKEN_TURN_REST_MS };
  const epoch = turn?.lease.epoch ?? null;
  await options.ledger
    .giveBack({ accountId, epoch, startedSeq: turn?.startedSeq ?? null, failure, forgives: false })
    .catch((failed: unknown) => options.log.error({ err: failed, accountId }, "the account could not be given back"));
}
