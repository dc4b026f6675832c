import type { TransactionClient } from "../db/pool.ts";
import type { Log } from "../log/log.ts";

/** An event as its handler sees it. */
export interface HandlerEvent {
  readonly accountId: string;
  /** The event's number in its account: 1, 2, 3, … without gaps. */
  readonly seq: number;
  readonly id: string | null;
  readonly type: string | null;
  /** What the sender posted as `data`. */
  readonly data: unknown;
  /** The same as it was sent, to the letter: JSON text. */
  readonly dataText: string;
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
   * The client is an ordinary one of `pg`, at PostgreSQL's default isolation, for as long as `work` lasts: then it refuses
   * everything. What it was asked before that and nobody awaited ends first; if any of it failed, the transaction has failed.
   * When `work` rejects, everything is rolled back and the error is passed on. A transaction that does nothing for longer
   * than the lease is ended by the server.
   *
   * Commit and rollback are not the handler's. `begin`, `commit` and `rollback` inside it, as `drizzle(client).transaction()`
   * sends them, become a savepoint and its end. Who commits or rolls back the transaction itself, in whichever way, settles
   * nothing and has failed; what was committed that way stays, and nobody can undo it.
   *
   * What `work` leaves in its session (settings, role, temporary tables, prepared statements, session locks, listeners) is
   * gone afterwards.
   *
   * A worker runs 20 transactions at once (see `INTURN_WORKER_CONNECTIONS_MAX`); more wait for a connection, as long as their handlers' time limit allows. One that
   * cannot begin, for want of a connection or of the database, costs no attempt: the event comes again after a second.
   *
   * @throws InturnError `lease_lost` when another worker has the account by now or the event is settled already,
   *   `transaction_aborted` when a query failed and its error was caught or not awaited, `transaction_misused` when the
   *   transaction was committed or rolled back by hand, `transaction_ended` when the client was used after `work`,
   *   `transaction_unavailable` when it could not begin (pass it on: swallowed, it counts as the handler's failure), or
   *   `transaction_repeated` when this event was settled by a transaction already; database errors as they come. Except after
   *   an error that leaves open whether a commit came through, nothing was written
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

/** What a handler of batches gets beside the events: `attempt` is that of the first one, and each event has a key of its own. */
export type BatchContext = Omit<HandlerContext, "idempotencyKey">;

/**
 * A handler that gets the next events of one account together, in seq order: one or more. When it resolves, all of them are settled. When
 * it throws, none is, and the first one has failed; `BatchError` says that others went well before the one that failed. With
 * `transaction` all of them are settled in it, or none.
 *
 * An event that has failed comes alone. Its time limit is the batch's. Events of one batch have the same rule in `eventTypes`.
 */
export type BatchHandler = (
  events: readonly [HandlerEvent, ...HandlerEvent[]],
  context: BatchContext,
) => Promise<void> | void;
