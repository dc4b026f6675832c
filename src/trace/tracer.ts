/**
 * OpenTelemetry's tracer, if whoever runs us has brought an SDK. We bring only its API, which does nothing by itself.
 */
import { ProxyTracerProvider, type Tracer, trace } from "@opentelemetry/api";

/** What our spans are said to come from. */
const INSTRUMENTATION = "inturn";

/** A process that ends waits this long for its last spans to be taken. */
const FLUSH_MS_MAX = 2_000;

/** The tracer; undefined without an SDK, so that nothing is prepared for spans that nobody sees. It is looked up each time: an SDK may come late. */
export function findTracer(): Tracer | undefined {
  const provider = trace.getTracerProvider();
  return provider instanceof ProxyTracerProvider
    ? provider.getDelegateTracer(INSTRUMENTATION)
    : provider.getTracer(INSTRUMENTATION);
}

/** Has the SDK hand over the spans that it still holds, before the process exits. Never rejects. */
export async function flushSpans(): Promise<void> {
  const provider = trace.getTracerProvider();
  const sdk: object = provider instanceof ProxyTracerProvider ? provider.getDelegate() : provider;
  // The API knows no flush; every SDK's provider has one.
  if (!("forceFlush" in sdk) || typeof sdk.forceFlush !== "function") return;
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, FLUSH_MS_MAX);
  const flushed = Promise.resolve(sdk.forceFlush()).catch(() => undefined);
  await Promise.race([flushed, late]);
  clearTimeout(timer);
}
