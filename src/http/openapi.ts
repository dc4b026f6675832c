/**
 * The API's own description, made from the schemas that check its requests.
 */
import { OpenAPIHono, type RouteConfig } from "@hono/zod-openapi";
import type { ErrorCode } from "../errors/codes.ts";
import { problemResponses } from "./problem.ts";
import type { Access, Route } from "./route.ts";

const TAGS = [
  { name: "Events", description: "Sending events, and reading what became of them." },
  { name: "Accounts", description: "What waits, what is stuck, since when and why." },
  { name: "Operations", description: "The operator's verbs. Each is recorded with who, when and why." },
  { name: "Health", description: "For whoever looks after the process." },
  { name: "Description", description: "What you are reading." },
];

/** `GET /openapi.json`, which describes these routes and itself. */
export function createDescription(routes: readonly Route[]): Route {
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
      },
    },
    codes: [],
    access: "open",
    handle: (c) => c.json(document),
  };
  const document = describe([...routes, description]);
  return description;
}

function describe(routes: readonly Route[]): object {
  const described = new OpenAPIHono();
  const { openAPIRegistry: registry } = described;
  registry.registerComponent("securitySchemes", "key", { type: "http", scheme: "bearer", description: "An API key." });
  for (const route of routes) registry.registerPath(complete(route));
  return described.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "Inturn",
      version: "1",
      description:
        "Events in, each account's events handled strictly in the order they arrived. Without any API key the server listens on loopback only, and needs none.",
      license: { name: "MIT" },
    },
    servers: [{ url: "/" }],
    tags: TAGS,
  });
}

/** Codes that any request may meet. */
const ANYWHERE: readonly ErrorCode[] = ["path_invalid", "query_invalid", "header_invalid", "internal"];

/** Codes that the guard may answer with before a route is asked. */
const AT_THE_GUARD: readonly ErrorCode[] = [
  "key_missing",
  "key_invalid",
  "scope_missing",
  "host_refused",
  "database_unavailable",
  "database_not_migrated",
];

function complete({ spec, codes, access }: Route): RouteConfig {
  const guarded = access !== "open" && access !== "signed";
  const all = new Set([...codes, ...ANYWHERE, ...(guarded ? AT_THE_GUARD : [])]);
  return {
    ...spec,
    description: `${spec.description ?? spec.summary ?? ""}. ${accessTextOf(access)}`.trimStart(),
    security: guarded ? [{ key: [] }] : [],
    responses: { ...spec.responses, ...problemResponses(all) },
  };
}

function accessTextOf(access: Access): string {
  if (access === "open") return "Needs no key.";
  return access === "signed" ? "Needs a signature of the body." : `Needs a key with the scope \`${access}\`.`;
}
