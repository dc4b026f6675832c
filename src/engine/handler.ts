import type { Log } from "../log/log.ts";

/** An event as its handler sees it. */
export interface HandlerEvent {
  readonly accountId: string;
  /** The event's place in its account: 1, 2, 3, … without gaps. */
  readonly seq: number;
  readonly id: string | null;
  readonly type: string | null;
  /** What the sender posted as `data`. */
  readonly data: unknown;
  /** When it happened, if the sender said so. */
  readonly occurredAt: Date | null;
  readonly receivedAt: Date;
}

/** What a handler gets beside the event. */
export interface HandlerContext {
  /** Aborts when the lease is lost, or when the worker stops and its deadline has passed. What is done after that may be done twice. */
  readonly signal: AbortSignal;
  /** 1 at the first attempt. */
  readonly attempt: number;
  /** The fencing token of this lease: a store that remembers the highest one can refuse a writer that lost its lease. */
  readonly epoch: number;
  /** `account/seq`: the same at every attempt of this event. */
  readonly idempotencyKey: string;
  /** A log whose lines carry the account and the seq. */
  readonly log: Log;
}

/**
 * The user's function. It is called for one event of an account at a time, in seq order. When it resolves, the event is
 * settled; when it throws, the event stays the head of its account and is tried again later.
 *
 * Delivery is at least once: after a crash between the handler's end and the settle, the event is handed out again.
 */
export type Handler = (event: HandlerEvent, context: HandlerContext) => Promise<void> | void;
