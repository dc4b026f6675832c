/**
 * One call of the handler: its context, its time limit, and the ways in which it can end.
 */
import type { TransactionClient } from "../db/pool.ts";
import type { Settled } from "../db/settle.ts";
import type { StoredEvent } from "../domain/event.ts";
import { idempotencyKeyOf } from "../domain/lease.ts";
import { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";
import { type HandlerSpan, startHandlerSpan } from "../trace/handler-span.ts";
import type { HandlerContext, HandlerEvent } from "./handler.ts";
import type { HandlerBatch, HandlerEvents } from "./handler-batch.ts";

/** What to call the handler with. */
export interface CallOptions {
  /** The handler, of one event or of several. */
  readonly handle: (events: HandlerEvents, context: HandlerContext) => Promise<void> | void;
  readonly events: HandlerBatch;
  /** Of the first event. */
  readonly attempt: number;
  readonly epoch: number;
  /** The handler's time limit. */
  readonly handlerTimeoutMs: number;
  readonly log: Log;
  /** Runs work in a transaction that also settles the event. */
  readonly transact: Transact;
}

/** Runs work in a transaction that also settles the event in hand. */
type Transact = <Result>(
  work: (client: TransactionClient) => Promise<Result>,
  signal: AbortSignal,
) => Promise<{ result: Result; settled: Settled }>;

/** How a call failed. */
export interface CallFailure {
  readonly error: unknown;
  /** Whether it had begun to settle in a transaction: nothing of that was kept. */
  readonly isRolledBack: boolean;
}

/** How a call ended. */
type CallEnd =
  | { readonly end: "done" }
  /** The event was settled by the handler's own transaction. */
  | { readonly end: "settled"; readonly settled: Settled }
  | ({ readonly end: "failed" } & CallFailure)
  /** Its transaction could not begin, and it has passed that on: no fault of the event's. */
  | { readonly end: "hindered"; readonly error: unknown }
  /** It was told to stop for no fault of its own. */
  | { readonly end: "abandoned" };

/** A call under way. */
export interface Call {
  readonly ended: Promise<CallEnd>;
  /** Tells the handler to stop; its end is waited for. */
  interrupt(reason: unknown): void;
  /** Waits no longer. */
  abandon(): void;
}

/** A handler that was told to stop because it took too long has this long to return. */
const TIMED_OUT_MS_MAX = 1_000;

/** Calls the handler. Never throws; `ended` never rejects. */
export function callHandler(options: CallOptions): Call {
  const { promise: ended, resolve } = Promise.withResolvers<CallEnd>();
  const signal = createLazySignal();
  const transaction = createTransaction(options.transact, signal);
  const span = startHandlerSpan(options);
  let interrupted = false;
  let timedOut: InturnError | undefined;
  const finish = (end: CallEnd) => {
    clearTimeout(timer);
    resolve(end);
    span.end(end);
  };
  const conclude = (end: CallEnd) => {
    const settled = transaction.settled();
    if (settled !== undefined && end.end === "failed") {
      options.log.warn({ err: end.error }, "the handler failed after its transaction had settled the event");
    }
    finish(settled === undefined ? end : { end: "settled", settled });
  };
  let timer = setTimeout(() => {
    timedOut = new InturnError("handler_timed_out", `the handler took longer than ${options.handlerTimeoutMs} ms`);
    signal.abort(timedOut);
    const end = { end: "failed", error: timedOut, isRolledBack: false } as const;
    timer = setTimeout(() => conclude(end), TIMED_OUT_MS_MAX);
  }, options.handlerTimeoutMs);

  const onFailed = (error: unknown): CallEnd => {
    if (interrupted) return { end: "abandoned" };
    if (transaction.hindered(error)) return { end: "hindered", error };
    return { end: "failed", error: timedOut ?? error, isRolledBack: transaction.wasTried() };
  };
  void handle(options, signal, transaction, span)
    .then((): CallEnd => ({ end: "done" }), onFailed)
    .then(conclude);
  return {
    ended,
    interrupt(reason) {
      interrupted = true;
      signal.abort(reason);
    },
    abandon: () => finish({ end: "abandoned" }),
  };
}

/** A transaction that the handler did not wait for is waited for here; one that failed has left the event as it was. */
async function handle(
  options: CallOptions,
  signal: LazySignal,
  transaction: OneTransaction,
  span: HandlerSpan,
): Promise<void> {
  const [head, ...others] = options.events;
  const events: HandlerEvents = [toHandlerEvent(head), ...others.map(toHandlerEvent)];
  await span.run(() => options.handle(events, createContext(options, signal, transaction)));
  await transaction.finished();
}

function toHandlerEvent(event: StoredEvent): HandlerEvent {
  const { accountId, seq, id, type, occurredAt, receivedAt } = event;
  const metadata = event.metadata === null ? null : JSON.parse(event.metadata);
  return {
    accountId,
    seq,
    id,
    type,
    data: JSON.parse(event.data),
    dataText: event.data,
    metadata,
    occurredAt,
    receivedAt,
  };
}

/** What few handlers use is made when it is asked for. */
function createContext(options: CallOptions, signal: LazySignal, transaction: OneTransaction): HandlerContext {
  const { attempt, epoch, log } = options;
  const [event] = options.events;
  return {
    attempt,
    epoch,
    idempotencyKey: idempotencyKeyOf(event),
    transaction: transaction.run,
    get signal() {
      return signal.get();
    },
    get log() {
      return log.child({ accountId: event.accountId, seq: event.seq });
    },
  };
}

interface LazySignal {
  get(): AbortSignal;
  abort(reason: unknown): void;
}

function createLazySignal(): LazySignal {
  let controller: AbortController | undefined;
  let abortion: { reason: unknown } | undefined;
  return {
    get() {
      controller ??= new AbortController();
      if (abortion !== undefined) controller.abort(abortion.reason);
      return controller.signal;
    },
    abort(reason) {
      abortion ??= { reason };
      controller?.abort(abortion.reason);
    },
  };
}

/** The one transaction that may settle an event. */
interface OneTransaction {
  readonly run: HandlerContext["transaction"];
  /** What the settle inside it answered, once it is committed. */
  settled(): Settled | undefined;
  /** Whether the handler has called for it. */
  wasTried(): boolean;
  /** Resolves when none is under way; rejects when the last one failed. */
  finished(): Promise<unknown>;
  /** Whether the handler failed because the last one could not begin. */
  hindered(error: unknown): boolean;
}

function createTransaction(transact: Transact, signal: LazySignal): OneTransaction {
  let settled: Settled | undefined;
  let underWay = false;
  let tried = false;
  let hindrance: InturnError | undefined;
  let last: Promise<unknown> = Promise.resolve();
  async function run<Result>(work: (client: TransactionClient) => Promise<Result>): Promise<Result> {
    if (underWay || settled !== undefined) {
      throw new InturnError("transaction_repeated", "An event is settled once: call context.transaction once.");
    }
    underWay = true;
    tried = true;
    const running = transact(work, signal.get());
    last = running;
    hindrance = undefined;
    // The caller gets this error, and so does the end of the call when the caller did not await it.
    last.catch((error: unknown) => {
      if (error instanceof InturnError && error.code === "transaction_unavailable") hindrance = error;
    });
    try {
      const done = await running;
      settled = done.settled;
      return done.result;
    } finally {
      underWay = false;
    }
  }

  return {
    run(work) {
      const running = run(work);
      // A failure that the handler does not await is reported at the end of the call; it does not end the process.
      running.catch(() => undefined);
      return running;
    },
    settled: () => settled,
    wasTried: () => tried,
    finished() {
      // A handler that returns all the same has swallowed it.
      hindrance = undefined;
      return last;
    },
    hindered: (error) => hindrance !== undefined && isCausedBy(error, hindrance),
  };
}

/** A chain of causes that is longer was not made by wrapping. */
const CAUSES_MAX = 10;

function isCausedBy(error: unknown, cause: Error): boolean {
  let link = error;
  for (let i = 0; i < CAUSES_MAX && link instanceof Error; i++) {
    if (link === cause) return true;
    link = link.cause;
  }
  return false;
}
