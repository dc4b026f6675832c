/**
 * Events of one account that a handler gets together.
 */
import type { StoredEvent } from "../domain/event.ts";
import type { RetryRule } from "../domain/failure.ts";
import { InturnError } from "../errors/error.ts";
import { BatchError } from "../errors/retry.ts";
import type { BatchHandler, Handler, HandlerContext, HandlerEvent } from "./handler.ts";

/** The next events of an account, in seq order. A handler that does not ask for more gets one. */
export type HandlerBatch = readonly [StoredEvent, ...StoredEvent[]];

/** Events as a handler sees them. */
export type HandlerEvents = readonly [HandlerEvent, ...HandlerEvent[]];

/** A handler that wants several events together. */
export interface BatchOptions {
  readonly handler: BatchHandler;
  /** Events at most. */
  readonly eventsMax: number;
  /** Bytes of their data and metadata at most, but for one event alone. */
  readonly bytesMax: number;
}

/**
 * As many of these events as go together, from one of them on.
 *
 * @param mayFollow whether an event may go together with the first one
 */
export function cutBatch(
  events: readonly StoredEvent[],
  first: StoredEvent,
  options: { eventsMax: number; bytesMax: number; mayFollow: (event: StoredEvent) => boolean },
): HandlerBatch {
  const batch: [StoredEvent, ...StoredEvent[]] = [first];
  let { bytes } = first;
  for (let i = events.indexOf(first) + 1; i < events.length && batch.length < options.eventsMax; i += 1) {
    const event = events[i];
    if (event === undefined || event.seq !== first.seq + batch.length || !options.mayFollow(event)) break;
    bytes += event.bytes;
    if (bytes > options.bytesMax) break;
    batch.push(event);
  }
  return batch;
}

/** What is called with events of a rule: what is pushed goes alone. */
export function handlerFor(
  rule: RetryRule,
  options: { handler: Handler; batch?: BatchOptions | undefined },
): (events: HandlerEvents, context: HandlerContext) => Promise<void> | void {
  const { handler, batch } = options;
  if (batch !== undefined && rule.push === undefined) return batch.handler;
  return ([event], context) => handler(event, context);
}

/**
 * How far a batch has come that failed: how many events went well before the one that failed, and what that one failed with.
 */
export function readBatchFailure(error: unknown, batch: HandlerBatch): { handled: number; error: unknown } {
  if (!BatchError.is(error)) return { handled: 0, error };
  const { handled, cause } = error;
  if (handled < batch.length) return { handled, error: cause };
  const message = `The handler threw BatchError(${handled}), and its batch had ${batch.length} events; none of them is settled.`;
  return { handled: 0, error: new InturnError("batch_error_invalid", message, { cause: error }) };
}
