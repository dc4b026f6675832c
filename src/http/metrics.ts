/**
 * `GET /metrics`, for Prometheus: of an API, and of a worker that has a listener of its own.
 */
import { z } from "@hono/zod-openapi";
import type { Route } from "./route.ts";

/** The media type of Prometheus' text format. */
const TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8";

/** @param expose gives everything that is counted, as text */
export function createMetricsRoute(expose: () => Promise<string>): Route {
  return {
    spec: {
      method: "get",
      path: "/metrics",
      operationId: "getMetrics",
      summary: "What is counted, in the text format of Prometheus",
      tags: ["Health"],
      responses: { 200: { description: "Metrics.", content: { "text/plain": { schema: z.string() } } } },
    },
    codes: [],
    access: "read",
    handle: async (c) => c.body(await expose(), 200, { "content-type": TEXT_FORMAT }),
  };
}
