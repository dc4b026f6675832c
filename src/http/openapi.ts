/**
 * The API's own description, made from the schemas that check its requests.
 */
import { OpenAPIHono } from "@hono/zod-openapi";
import { problemResponses } from "./problem.ts";
import type { Route } from "./route.ts";

/** `GET /openapi.json`, which describes these routes and itself. */
export function createDescription(routes: readonly Route[]): Route[] {
  const description: Route = {
    spec: {
      method: "get",
      path: "/openapi.json",
      operationId: "getDescription",
      summary: "This description",
      tags: ["Description"],
      responses: {
        200: {
          description: "An OpenAPI 3.1 document.",
          content: { "application/json": { schema: { type: "object" } } },
        },
        ...problemResponses(),
      },
    },
    access: "open",
    handle: (c) => c.json(document),
  };
  const document = describe([...routes, description]);
  return [description];
}

function describe(routes: readonly Route[]): object {
  const described = new OpenAPIHono();
  for (const { spec } of routes) described.openAPIRegistry.registerPath(spec);
  return described.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "Inturn",
      version: "1",
      description: "Events in, each account's events handled strictly in the order they arrived.",
    },
  });
}
