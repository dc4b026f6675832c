/**
 * OpenTelemetry's tracer, if whoever runs us has brought an SDK. We bring only its API, which does nothing by itself.
 */
import { type Tracer, type TracerProvider, trace } from "@opentelemetry/api";

/** What our spans are said to come from. */
const INSTRUMENTATION = "inturn";

/** A process that ends waits this long for its last spans to be taken. */
const FLUSH_MS_MAX = 2_000;

/**
 * What the API hands out: a proxy before the SDK's provider, if there is one. The SDK may bring a copy of the API of its own,
 * so a class of ours would not tell it.
 */
interface Proxy extends TracerProvider {
  getDelegate?(): TracerProvider & { forceFlush?(): Promise<void> };
  getDelegateTracer?(name: string): Tracer | undefined;
}

/** The tracer; undefined without an SDK, so that nothing is prepared for spans that nobody sees. It is looked up each time: an SDK may come late. */
export function findTracer(): Tracer | undefined {
  const provider: Proxy = trace.getTracerProvider();
  return provider.getDelegateTracer === undefined
    ? provider.getTracer(INSTRUMENTATION)
    : provider.getDelegateTracer(INSTRUMENTATION);
}

/** Has the SDK hand over the spans that it still holds, before the process exits. Never rejects. */
export async function flushSpans(): Promise<void> {
  const provider: Proxy = trace.getTracerProvider();
  const sdk = provider.getDelegate?.() ?? provider;
  // The API knows no flush; every SDK's provider has one.
  if (!("forceFlush" in sdk) || typeof sdk.forceFlush !== "function") return;
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, FLUSH_MS_MAX);
  const flushed = Promise.resolve(sdk.forceFlush()).catch(() => undefined);
  await Promise.race([flushed, late]);
  clearTimeout(timer);
}
