/**
 * What a turn holds and knows: its lease, how far it has come, and the two writes that can end it.
 */
import type { Claimed } from "../db/claim.ts";
import type { HeadFailure } from "../db/give-back.ts";
import type { Settled, Settlement } from "../db/settle.ts";
import type { StoredEvent } from "../domain/event.ts";
import type { RetryRule } from "../domain/failure.ts";
import { shouldYield } from "../domain/turn.ts";
import type { Log } from "../log/log.ts";
import type { WorkerMetrics } from "../metrics/worker-metrics.ts";
import type { Call } from "./call.ts";
import type { Handler } from "./handler.ts";
import type { Ledger } from "./ledger.ts";
import type { Transactions } from "./transactions.ts";

/** What every turn of a worker shares. */
export interface TurnOptions {
  readonly ledger: Ledger;
  readonly transactions: Transactions;
  readonly handler: Handler;
  /** How events of this type are retried. */
  readonly ruleOf: (type: string | null) => RetryRule;
  readonly log: Log;
  readonly metrics?: WorkerMetrics;
  /** Whether accounts wait for a place in this worker. */
  readonly isCrowded: () => boolean;
  /** Resolves when the worker's lease is known to be good; undefined when it is. No handler starts before. */
  readonly confirmed: () => Promise<void> | undefined;
  /** Aborts when the worker begins to stop: turns end after the event in hand. */
  readonly stopping: AbortSignal;
  /** Aborts when handlers must come to their end: the worker's lease may be gone, or its time to stop is up. */
  readonly interrupted: AbortSignal;
  /** Aborts when handlers are waited for no longer. */
  readonly abandoned: AbortSignal;
}

/** A turn under way. */
export interface Turn extends TurnOptions {
  readonly lease: Claimed;
  readonly startedMs: number;
  /** Events settled so far. */
  events: number;
  /** The attempt that the head is at, and how many of them no longer count. */
  attempt: number;
  attemptsForgiven: number;
  /** The last event whose handler was started. */
  startedSeq: number | null;
  /** The database's clock, as last heard, and our monotonic clock at that moment. */
  heard: { readonly databaseUs: number; readonly monotonicMs: number };
  call: Call | undefined;
}

/** A turn at its beginning. */
export function beginTurn(options: TurnOptions, lease: Claimed): Turn {
  return {
    ...options,
    lease,
    startedMs: performance.now(),
    events: 0,
    attempt: lease.attempt,
    attemptsForgiven: lease.attemptsForgiven,
    startedSeq: null,
    heard: hear(lease.databaseUs),
    call: undefined,
  };
}

/** When a handler was called and how long it took; nulls for one that was not. */
export type Timing = Pick<Settlement, "startedUs" | "durationMs">;

/** The settle of an event that went well. */
export function settlementOf(turn: Turn, event: StoredEvent, timing: Timing): Settlement {
  const progress = {
    events: turn.events + 1,
    elapsedMs: performance.now() - turn.startedMs,
    crowded: turn.isCrowded(),
    stopping: turn.stopping.aborted,
  };
  return {
    ...leaseOf(turn),
    ...timing,
    seq: event.seq,
    outcome: "processed",
    error: null,
    attempts: turn.attempt,
    yields: shouldYield(progress),
    keepsLease: false,
  };
}

/** Takes note of a settle's answer. Returns whether the turn goes on. */
export function goesOn(turn: Turn, settled: Settled | undefined, event: StoredEvent, settlement: Settlement): boolean {
  if (settled === undefined) {
    turn.metrics?.lostLease();
    turn.log.warn(
      { ...leaseOf(turn), seq: event.seq },
      "lease lost: another worker took the account over; the event will be handled again",
    );
    return false;
  }
  turn.metrics?.settled(settlement.outcome, waitSecondsOf(event, settlement));
  turn.events += 1;
  turn.attempt = 1;
  turn.attemptsForgiven = 0;
  turn.heard = hear(settled.databaseUs);
  return settled.state === "running";
}

function waitSecondsOf({ receivedAt }: StoredEvent, { startedUs }: Settlement): number | null {
  return startedUs === null ? null : Math.max(0, startedUs / 1_000_000 - receivedAt.getTime() / 1_000);
}

/**
 * Ends the lease; the failure, if there is one, is that of the event whose handler was started last, unless it says otherwise.
 *
 * @param options.forgives whether its attempt does not count; without a failure it never does
 */
export async function giveBack(
  turn: Turn,
  failure: (Omit<HeadFailure, "isOfEvent"> & { isOfEvent?: boolean }) | null,
  options: { forgives: boolean } = { forgives: failure === null },
): Promise<void> {
  const ofEvent = failure && { isOfEvent: true, ...failure };
  await turn.ledger.giveBack({
    ...leaseOf(turn),
    startedSeq: turn.startedSeq,
    failure: ofEvent,
    forgives: options.forgives,
  });
}

/** The lease as every write names it. */
export function leaseOf(turn: Turn): { accountId: string; epoch: number } {
  return { accountId: turn.lease.accountId, epoch: turn.lease.epoch };
}

/**
 * Times are the database's: its clock as last heard plus our monotonic time since then. The answer took a moment to
 * arrive, so this never runs ahead of the database, and an event's start is never before its predecessor's settle.
 */
function hear(databaseUs: number): { databaseUs: number; monotonicMs: number } {
  return { databaseUs, monotonicMs: performance.now() };
}
