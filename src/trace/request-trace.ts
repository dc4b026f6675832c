/**
 * The trace of a request that brings events: a SERVER span under the sender's, whose context is stored with the events.
 */
import { context, type Span, SpanKind, SpanStatusCode, type Tracer, trace } from "@opentelemetry/api";
import { parseTraceContext, type TraceContext, toSpanContext, toTraceContext } from "./trace-context.ts";
import { findTracer } from "./tracer.ts";

/** What a span says of its request. */
export interface TracedRequest {
  readonly method: string;
  /** With its parameters' names instead of their values. */
  readonly route: string;
  readonly path: string;
  readonly scheme: string;
}

/** Contexts of events that a request's span is linked with; SDKs keep no more. */
const LINKS_MAX = 128;

/** The trace of one request. Without an SDK it has no span, and its context is the sender's. */
export class RequestTrace {
  /** What events without a context of their own are stored with. */
  readonly context: TraceContext | undefined;
  readonly #span: Span | undefined;
  #linked: Set<string> | undefined;
  /** What the span's end waits for: the answer, and whoever keeps it open. */
  #awaited = 1;

  constructor(stored: TraceContext | undefined, span?: Span) {
    this.context = stored;
    this.#span = span;
  }

  /** Whether there is a span that must be ended. */
  get hasSpan(): boolean {
    return this.#span !== undefined;
  }

  /** What an event is stored with: the context that it brought, as it is, if that is valid; else the request's. */
  contextFor({ traceparent, tracestate }: Readonly<Record<string, unknown>>): TraceContext | undefined {
    if (traceparent === undefined) return this.context;
    const brought = parseTraceContext(traceparent, tracestate);
    if (brought === undefined) return this.context;
    this.#link(brought);
    return brought;
  }

  /** The answer's status is known; the span ends, unless it is kept open. */
  answered(status: number): void {
    this.#span?.setAttribute("http.response.status_code", status);
    // What a client did wrong is no error of the server's.
    if (status >= 500) this.#span?.setStatus({ code: SpanStatusCode.ERROR }).setAttribute("error.type", String(status));
    this.#end();
  }

  /** An answer that goes on after its head: the span does not end before the returned function is called, once. */
  keepOpen(): () => void {
    this.#awaited += 1;
    return () => this.#end();
  }

  #end(): void {
    this.#awaited -= 1;
    if (this.#awaited === 0) this.#span?.end();
  }

  #link(brought: TraceContext): void {
    if (this.#span === undefined) return;
    this.#linked ??= new Set();
    if (this.#linked.size >= LINKS_MAX || this.#linked.has(brought.traceparent)) return;
    this.#linked.add(brought.traceparent);
    this.#span.addLink({ context: toSpanContext(brought) });
  }
}

/**
 * Starts the trace of a request.
 *
 * @param sender where the request comes from in a trace, if it says so
 * @param describe asked only when there is an SDK
 */
export function startRequestTrace(sender: TraceContext | undefined, describe: () => TracedRequest): RequestTrace {
  const tracer = findTracer();
  if (tracer === undefined) return new RequestTrace(sender);
  const span = startServerSpan(tracer, sender, describe());
  return new RequestTrace(toTraceContext(span.spanContext()) ?? sender, span);
}

function startServerSpan(tracer: Tracer, sender: TraceContext | undefined, request: TracedRequest): Span {
  const { method, route, path, scheme } = request;
  // Where the SDK instruments node's HTTP server, its span is there already, under the sender's, and is the request's own.
  const around = context.active();
  const isWithin = trace.getSpanContext(around) !== undefined;
  const parent = isWithin || sender === undefined ? around : trace.setSpanContext(around, toSpanContext(sender));
  const attributes = {
    "http.request.method": method,
    "http.route": route,
    "url.path": path,
    "url.scheme": scheme,
  };
  const kind = isWithin ? SpanKind.INTERNAL : SpanKind.SERVER;
  return tracer.startSpan(`${method} ${route}`, { kind, attributes }, parent);
}
