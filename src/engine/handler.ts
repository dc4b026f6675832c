import type { TransactionClient } from "../db/pool.ts";
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
  /**
   * What came with the event beside its data: the attributes of a CloudEvent (`source`, `subject`, extensions), a webhook's
   * `source`, and the `traceparent` and `tracestate` of a sender who traces; else null.
   */
  readonly metadata: Readonly<Record<string, unknown>> | null;
  /** When it happened, if the sender said so. */
  readonly occurredAt: Date | null;
  readonly receivedAt: Date;
}

/** What a handler gets beside the event. */
export interface HandlerContext {
  /**
   * Aborts when the handler has taken too long, when the lease may be lost, or when the worker stops and its deadline has
   * passed. What is done after that may be done twice.
   */
  readonly signal: AbortSignal;
  /** 1 at the first attempt. */
  readonly attempt: number;
  /** The fencing token of this lease: a store that remembers the highest one can refuse a writer that lost its lease. */
  readonly epoch: number;
  /** `account/seq`: the same at every attempt of this event. */
  readonly idempotencyKey: string;
  /** A log whose lines carry the account and the seq. */
  readonly log: Log;
  /**
   * Exactly once, for effects in the same database: runs `work` in a transaction that also settles the event, so what it
   * writes and the settle commit together or not at all. Once it has resolved, the event is done with.
   *
   * The connection is an ordinary one of `pg`, at PostgreSQL's default isolation; begin, commit and rollback are ours.
   * When `work` rejects, everything is rolled back and the error is passed on. A transaction that does nothing for longer
   * than the lease is ended by the server.
   *
   * @throws InturnError `lease_lost` when another worker has the account by now or the event is settled already
   *   (nothing was written), or
   *   `transaction_repeated` when this event was settled by a transaction already; database errors as they come
   * @example
   * ```ts
   * await transaction(async (client) => {
   *   await client.query("update balances set amount = amount + $1 where account_id = $2", [amount, event.accountId]);
   * });
   * ```
   */
  readonly transaction: <Result>(work: (client: TransactionClient) => Promise<Result>) => Promise<Result>;
}

/**
 * The user's function. It is called for one event of an account at a time, in seq order. When it resolves, the event is
 * settled; when it throws, the event stays the head of its account and is tried again later.
 *
 * What it throws may say more: an error with `retry: false` is not tried again, one with `retry: <Date>` not before then
 * (see `DoNotRetryError` and `RetryAtError`).
 *
 * Delivery is at least once: after a crash between the handler's end and the settle, the event is handed out again.
 */
export type Handler = (event: HandlerEvent, context: HandlerContext) => Promise<void> | void;
