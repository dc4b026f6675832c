/** An SDK as a deployment would bring it (`--import`), which hands its spans over late, and to standard output. */
import { isMainThread } from "node:worker_threads";
import { trace } from "@opentelemetry/api";
import { BasicTracerProvider, BatchSpanProcessor, type SpanExporter } from "@opentelemetry/sdk-trace-base";

const exporter: SpanExporter = {
  export(spans, done) {
    for (const span of spans) {
      const { traceId, spanId } = span.spanContext();
      const parent = span.parentSpanContext?.spanId;
      process.stdout.write(`${JSON.stringify({ name: span.name, traceId, spanId, parent })}\n`);
    }
    done({ code: 0 });
  },
  shutdown: async () => undefined,
};

if (isMainThread) {
  const processor = new BatchSpanProcessor(exporter, { scheduledDelayMillis: 600_000 });
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [processor] }));
}
