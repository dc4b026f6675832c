/**
 * A trace context as W3C writes it, which is also how it is stored with an event.
 */
import { createTraceState, isSpanContextValid, type SpanContext } from "@opentelemetry/api";

/** A trace context, in the two texts of W3C Trace Context. */
export interface TraceContext {
  readonly traceparent: string;
  /** What tracing systems carry along, if there is anything. */
  readonly tracestate: string | undefined;
}

/** A valid traceparent. Later versions than 00 may say more behind the flags; ff is none. */
export const TRACEPARENT: RegExp =
  /^(?!ff|00.{54})[\da-f]{2}-(?!0{32}-)[\da-f]{32}-(?!0{16}-)[\da-f]{16}-[\da-f]{2}(?:-[\x21-\x7e]{0,200})?$/;

/** Characters of a tracestate; W3C asks nobody to carry more. */
export const TRACESTATE_LENGTH_MAX = 512;

/** Entries of a tracestate, as W3C has it. */
const TRACESTATE_ENTRIES_MAX = 32;

const TRACESTATE_ENTRY = /^[a-z\d][\w\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256}$/;

/** Whether W3C Trace Context would have it so. */
export function isTracestate(text: string): boolean {
  if (text.length > TRACESTATE_LENGTH_MAX) return false;
  const entries = text.split(",").map((entry) => entry.trim());
  return (
    entries.length <= TRACESTATE_ENTRIES_MAX && entries.every((entry) => entry === "" || TRACESTATE_ENTRY.test(entry))
  );
}

/** The context that came as these values; undefined when there is none in them. A tracestate that is none is left out, as W3C says. */
export function parseTraceContext(traceparent: unknown, tracestate: unknown): TraceContext | undefined {
  if (typeof traceparent !== "string" || !TRACEPARENT.test(traceparent)) return undefined;
  const isGiven = typeof tracestate === "string" && tracestate !== "" && isTracestate(tracestate);
  return { traceparent, tracestate: isGiven ? tracestate : undefined };
}

/** The context in an event's metadata, the JSON text of an object; undefined when there is none. */
export function parseStoredContext(metadata: string | null): TraceContext | undefined {
  if (metadata === null) return undefined;
  const { traceparent, tracestate } = JSON.parse(metadata) as Record<string, unknown>;
  return parseTraceContext(traceparent, tracestate);
}

/** What OpenTelemetry makes of it. */
export function toSpanContext({ traceparent, tracestate }: TraceContext): SpanContext {
  return {
    traceId: traceparent.slice(3, 35),
    spanId: traceparent.slice(36, 52),
    traceFlags: Number.parseInt(traceparent.slice(53, 55), 16),
    isRemote: true,
    ...(tracestate !== undefined && { traceState: createTraceState(tracestate) }),
  };
}

/** The texts of a span's context; undefined for an invalid span, as an SDK makes them while tracing is suppressed. */
export function toTraceContext(span: SpanContext): TraceContext | undefined {
  if (!isSpanContextValid(span)) return undefined;
  const { traceId, spanId, traceFlags, traceState } = span;
  const traceparent = `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
  const tracestate = traceState?.serialize() ?? "";
  return {
    traceparent,
    tracestate: tracestate === "" || tracestate.length > TRACESTATE_LENGTH_MAX ? undefined : tracestate,
  };
}
