/**
 * The span of one call of the handler, under the trace context that was stored with the event. So a trace goes on across
 * the queue, however long the event waited in it.
 */
import { context, type Link, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import type { StoredEvent } from "../domain/event.ts";
import { InturnError } from "../errors/error.ts";
import { textOf } from "../errors/text.ts";
import { parseStoredContext, toSpanContext } from "./trace-context.ts";
import { findTracer } from "./tracer.ts";

/** A call of the handler, as a trace shows it. */
export interface HandlerSpan {
  /** Runs work in the span, so that spans made in it are its children. */
  run<Result>(work: () => Result): Result;
  /** Ends the span, with the error of a call that failed; only the first end counts. */
  end(ending: { readonly end: string; readonly error?: unknown }): void;
}

/** Without an SDK. */
const NO_SPAN: HandlerSpan = { run: (work) => work(), end: () => undefined };

/** A call of a handler. */
interface HandlerCall {
  readonly events: readonly [StoredEvent, ...StoredEvent[]];
  readonly attempt: number;
  readonly epoch: number;
}

/**
 * Starts the span of a call. What the events carry is never told. One event's span goes on from its context; that of several has a
 * link to each.
 */
export function startHandlerSpan(call: HandlerCall): HandlerSpan {
  const tracer = findTracer();
  if (tracer === undefined) return NO_SPAN;
  const [event] = call.events;
  const sent = call.events.length === 1 ? parseStoredContext(event.metadata) : undefined;
  // From the root: what surrounds a turn belongs to the worker, and to none of its events.
  const parent = sent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, toSpanContext(sent));
  const span = tracer.startSpan(
    `process ${event.type ?? "event"}`,
    { kind: SpanKind.CONSUMER, attributes: attributesOf(call), links: linksOf(call) },
    parent,
  );
  let isEnded = false;
  return {
    run: (work) => context.with(trace.setSpan(parent, span), work),
    end(ending) {
      if (isEnded) return;
      isEnded = true;
      span.setAttribute("inturn.ending", ending.end);
      // A handler may throw anything, also undefined.
      if ("error" in ending) recordFailure(span, ending.error);
      span.end();
    },
  };
}

function recordFailure(span: Span, error: unknown): void {
  span.recordException(error instanceof Error ? error : textOf(error));
  span.setStatus({ code: SpanStatusCode.ERROR, message: textOf(error) });
  span.setAttribute("error.type", typeOf(error));
}

/** Few values, for whoever counts by them. */
function typeOf(error: unknown): string {
  if (error instanceof InturnError) return error.code;
  return error instanceof Error ? error.name : "_OTHER";
}

function linksOf({ events }: HandlerCall): Link[] {
  if (events.length === 1) return [];
  const contexts = events.map(({ metadata }) => parseStoredContext(metadata)).filter((sent) => sent !== undefined);
  return contexts.map((sent) => ({ context: toSpanContext(sent) }));
}

function attributesOf({ events, attempt, epoch }: HandlerCall) {
  const [event] = events;
  return {
    "messaging.system": "inturn",
    "messaging.operation.type": "process",
    "messaging.operation.name": "process",
    ...(event.type !== null && { "messaging.destination.name": event.type }),
    ...(event.id !== null && { "messaging.message.id": event.id }),
    "messaging.message.conversation_id": event.accountId,
    ...(events.length > 1 && { "messaging.batch.message_count": events.length }),
    "inturn.seq": event.seq,
    "inturn.attempt": attempt,
    "inturn.epoch": epoch,
  };
}
