/**
 * The traces of requests that bring events: where they come from, and how they end.
 */
import { z } from "@hono/zod-openapi";
import { RequestTrace, startRequestTrace } from "../trace/request-trace.ts";
import { parseTraceContext } from "../trace/trace-context.ts";
import { statusOf, toInturnError } from "./problem.ts";
import type { ApiContext, Route } from "./route.ts";

/** The headers that say where a request comes from in a trace, for the API's description. */
export const traceHeadersSchema = z.object({
  traceparent: z.string().optional().openapi({
    description: "W3C Trace Context: where the request comes from in a trace. Ignored when it is invalid.",
  }),
  tracestate: z.string().optional().openapi({ description: "What tracing systems carry along with it." }),
});

/** Handles a request with `trace` set: a span around all of it, also around what the guard refuses. */
export function traceRequest(c: ApiContext, route: string, handle: Route["handle"]): Promise<Response> | Response {
  // Without an SDK and without a header this is all that happens.
  const traceparent = c.req.header("traceparent");
  const sender = traceparent === undefined ? undefined : parseTraceContext(traceparent, c.req.header("tracestate"));
  const trace = startRequestTrace(sender, () => ({
    method: c.req.method,
    route,
    path: c.req.path,
    scheme: c.req.url.startsWith("https:") ? "https" : "http",
  }));
  c.set("trace", trace);
  return trace.hasSpan ? answerInSpan(c, trace, handle) : handle(c);
}

async function answerInSpan(c: ApiContext, trace: RequestTrace, handle: Route["handle"]): Promise<Response> {
  try {
    const response = await handle(c);
    trace.answered(response.status);
    return response;
  } catch (error) {
    trace.answered(statusOf(toInturnError(error).code));
    throw error;
  }
}
