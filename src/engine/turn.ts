/**
 * A turn: one holding of an account's lease. It reads as the promise does: claim the account, then one event at a time
 * in seq order, handle it and settle it, until nothing is left, others wait, or the worker stops.
 */
import assert from "node:assert/strict";
import type { Claimed } from "../db/claim.ts";
import type { Settled } from "../db/settle.ts";
import { backoffMs } from "../domain/backoff.ts";
import type { StoredEvent } from "../domain/event.ts";
import { idempotencyKeyOf } from "../domain/lease.ts";
import { shouldYield } from "../domain/turn.ts";
import type { Log } from "../log/log.ts";
import type { Handler } from "./handler.ts";
import type { Ledger } from "./ledger.ts";

/** What every turn of a worker shares. */
export interface TurnOptions {
  readonly ledger: Ledger;
  readonly handler: Handler;
  readonly log: Log;
  /** The wait after the first failed attempt. */
  readonly backoffFirstMs: number;
  /** Whether accounts wait for a place in this worker. */
  readonly isCrowded: () => boolean;
  /** Aborts when the worker begins to stop: turns end after the event in hand. */
  readonly stopping: AbortSignal;
  /** Aborts when handlers must be left alone: the worker's lease is gone, or its time to stop is up. */
  readonly abandoned: AbortSignal;
}

/** A turn under way. */
interface Turn extends TurnOptions {
  readonly lease: Claimed;
  readonly startedMs: number;
  /** Events settled so far. */
  events: number;
  /** The attempt that the head is at. */
  attempt: number;
  /** Called when handlers are abandoned: it ends the wait for the one that runs. */
  onAbandon: () => void;
  /** The database's clock, as last heard, and our monotonic clock at that moment. */
  heard: { readonly databaseUs: number; readonly monotonicMs: number };
}

/** How a handler's run ended. */
type Run =
  | { readonly end: "done"; readonly startedUs: number; readonly durationMs: number }
  | { readonly end: "failed"; readonly error: unknown }
  | { readonly end: "abandoned" };

/**
 * Runs one turn of an account, if its lease can be had. Resolves when the lease has ended, in whichever way.
 * Rejects when the database failed: then what the turn did last is unknown, and the lease must be given back.
 */
export async function runTurn(options: TurnOptions, accountId: string): Promise<void> {
  const lease = await options.ledger.claim(accountId);
  if (lease === undefined) return;
  const turn: Turn = {
    ...options,
    lease,
    startedMs: performance.now(),
    events: 0,
    attempt: lease.attempt,
    heard: hear(lease.databaseUs),
    onAbandon: () => undefined,
  };
  const abandon = () => turn.onAbandon();
  options.abandoned.addEventListener("abort", abandon, { once: true });
  try {
    await handleInOrder(turn);
  } finally {
    options.abandoned.removeEventListener("abort", abandon);
  }
}

/** Event by event, page by page, until a step ends the turn. A running account always has an event left: the settle of the last one ends the turn. */
async function handleInOrder(turn: Turn): Promise<void> {
  let processedSeq = turn.lease.processedSeq;
  for (;;) {
    const page = await turn.ledger.read({ accountId: turn.lease.accountId, afterSeq: processedSeq });
    assert(page.length > 0, `account ${turn.lease.accountId} runs, but has no event after seq ${processedSeq}`);
    for (const event of page) {
      assert(event.seq === processedSeq + 1, `account ${event.accountId} lacks seq ${processedSeq + 1}`);
      if (turn.stopping.aborted) return await giveBackUnstarted(turn);
      if (!(await takeStep(turn, event))) return;
      processedSeq = event.seq;
    }
  }
}

/** Handles one event and settles it. Returns whether the turn goes on. */
async function takeStep(turn: Turn, event: StoredEvent): Promise<boolean> {
  const run = await runHandler(turn, event);
  switch (run.end) {
    case "done":
      return goesOn(turn, event, await settle(turn, event, run));
    case "failed":
      await retryLater(turn, event, run.error);
      return false;
    case "abandoned":
      await turn.ledger.giveBack({ ...leaseOf(turn), failure: null, started: true });
      return false;
  }
}

/** Calls the handler. An abandoned one is not waited for: its signal is aborted and its result ignored. */
async function runHandler(turn: Turn, event: StoredEvent): Promise<Run> {
  if (turn.abandoned.aborted) return { end: "abandoned" };
  const startedMs = performance.now();
  const startedUs = turn.heard.databaseUs + Math.ceil((startedMs - turn.heard.monotonicMs) * 1_000);
  return await new Promise<Run>((resolve) => {
    turn.onAbandon = () => resolve({ end: "abandoned" });
    callHandler(turn, event).then(
      () => resolve({ end: "done", startedUs, durationMs: performance.now() - startedMs }),
      (error: unknown) => resolve({ end: "failed", error }),
    );
  });
}

async function callHandler(turn: Turn, event: StoredEvent): Promise<void> {
  const { data, ...stored } = event;
  await turn.handler(
    { ...stored, data: JSON.parse(data) },
    {
      signal: turn.abandoned,
      attempt: turn.attempt,
      epoch: turn.lease.epoch,
      idempotencyKey: idempotencyKeyOf(event),
      log: turn.log.child({ accountId: event.accountId, seq: event.seq }),
    },
  );
}

async function settle(
  turn: Turn,
  event: StoredEvent,
  run: { startedUs: number; durationMs: number },
): Promise<Settled | undefined> {
  turn.events += 1;
  const progress = {
    events: turn.events,
    elapsedMs: performance.now() - turn.startedMs,
    crowded: turn.isCrowded(),
    stopping: turn.stopping.aborted,
  };
  const { startedUs, durationMs } = run;
  return await turn.ledger.settle({
    ...leaseOf(turn),
    seq: event.seq,
    startedUs,
    durationMs,
    yields: shouldYield(progress),
  });
}

function goesOn(turn: Turn, event: StoredEvent, settled: Settled | undefined): boolean {
  if (settled === undefined) {
    turn.log.warn(
      { ...leaseOf(turn), seq: event.seq },
      "lease lost: another worker took the account over; the event will be handled again",
    );
    return false;
  }
  turn.attempt = 1;
  turn.heard = hear(settled.databaseUs);
  return settled.state === "running";
}

async function retryLater(turn: Turn, event: StoredEvent, error: unknown): Promise<void> {
  const retryInMs = backoffMs({ attempt: turn.attempt, firstMs: turn.backoffFirstMs, random: Math.random() });
  const message = textOf(error);
  const { attempt } = turn;
  const failed = { ...leaseOf(turn), seq: event.seq, attempt, retryInMs, error: message };
  turn.log.warn(failed, "the handler failed; the account waits");
  await turn.ledger.giveBack({ ...leaseOf(turn), failure: { message, retryInMs }, started: true });
}

/** Characters of an error that are logged and kept: a handler may throw a whole document. */
const ERROR_LENGTH_MAX = 2_000;

/** What a handler threw, as text. It may have thrown anything, even what cannot be turned into text. */
function textOf(error: unknown): string {
  try {
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return text.slice(0, ERROR_LENGTH_MAX);
  } catch {
    return "something was thrown that cannot be turned into text";
  }
}

async function giveBackUnstarted(turn: Turn): Promise<void> {
  await turn.ledger.giveBack({ ...leaseOf(turn), failure: null, started: false });
}

function leaseOf(turn: Turn): { accountId: string; epoch: number } {
  return { accountId: turn.lease.accountId, epoch: turn.lease.epoch };
}

/**
 * Times are the database's: its clock as last heard plus our monotonic time since then. The answer took a moment to
 * arrive, so this never runs ahead of the database, and an event's start is never before its predecessor's settle.
 */
function hear(databaseUs: number): { databaseUs: number; monotonicMs: number } {
  return { databaseUs, monotonicMs: performance.now() };
}
