/**
 * The HTTP API. It knows the database's doors and views, and nothing of workers.
 */
import { randomUUID } from "node:crypto";
import { type Handler, Hono } from "hono";
import type { Database } from "../db/pool.ts";
import type { Appender } from "../engine/append.ts";
import type { Waiting } from "../engine/waiting.ts";
import { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";
import { createGuard, type GuardOptions } from "./access.ts";
import { createAccountEventRoutes } from "./account-events.ts";
import { createAccountRoutes } from "./accounts.ts";
import { refuseUnreadableAddress } from "./address.ts";
import { BodyBudget, UNKNOWN_BODIES_BYTES_MAX } from "./body.ts";
import { createDocsPages } from "./docs.ts";
import type { IngestLimits } from "./event-schema.ts";
import { createEventRoutes } from "./events.ts";
import { createHealthRoutes } from "./health.ts";
import { createDescription } from "./openapi.ts";
import { createOperationRoutes } from "./operations.ts";
import { respondWithProblem, toInturnError } from "./problem.ts";
import { RateLimits } from "./rate-limits.ts";
import type { Access, ApiContext, ApiEnvironment, Route } from "./route.ts";
import { traceRequest } from "./trace.ts";
import { createWebhookRoutes } from "./webhooks.ts";

/** What the API stands on. */
export interface AppOptions extends GuardOptions {
  readonly appender: Appender;
  /** For reading, and for the operator's verbs. */
  readonly database: Database;
  readonly waiting: Waiting;
  readonly log: Log;
  readonly limits: IngestLimits;
  /** Pages for people, by path; they need the scope `read`. */
  readonly pages?: Readonly<Record<string, Handler>>;
}

/** Creates the API. */
export function createApp(options: AppOptions): Hono<ApiEnvironment> {
  const { database, log } = options;
  const app = new Hono<ApiEnvironment>({ strict: true });
  const guard = createGuard(options);
  const routes: Route[] = [
    ...createEventRoutes({ ...options, budget: new BodyBudget(), rates: new RateLimits() }),
    ...createWebhookRoutes({ ...options, budget: new BodyBudget(UNKNOWN_BODIES_BYTES_MAX) }),
    ...createAccountRoutes(database),
    ...createAccountEventRoutes(options),
    ...createOperationRoutes(database),
    ...createHealthRoutes(database),
  ];
  routes.push(createDescription(routes));
  for (const { spec, access, handle, isTraced } of routes) {
    const path = spec.path.replaceAll(/\{(\w+)\}/g, ":$1");
    const tracedAs = isTraced === true ? spec.path : undefined;
    register(app, { method: spec.method.toUpperCase(), path, access, handle, tracedAs });
  }
  for (const [path, handle] of Object.entries(createDocsPages())) {
    register(app, { method: "GET", path, access: "open", handle: handle as Route["handle"] });
  }
  for (const [path, handle] of Object.entries(options.pages ?? {})) {
    register(app, { method: "GET", path, access: "read", handle: (c) => showPage(c, handle) });
  }
  const methodsOf = listMethods(app);
  app.notFound((c) => {
    refuseUnreadableAddress(c);
    const allowed = methodsOf(c.req.path);
    if (allowed !== undefined) {
      c.header("Allow", allowed);
      throw new InturnError("method_not_allowed", `This path takes ${allowed}.`);
    }
    throw new InturnError("route_not_found", "There is nothing at this path; /openapi.json describes what there is.");
  });
  app.onError((thrown, c) => {
    const error = toInturnError(thrown);
    const requestId = randomUUID();
    if (error.code === "internal") log.error({ err: thrown, requestId, path: c.req.path }, "a request failed");
    else if (error.code === "database_unavailable") log.warn({ err: thrown, requestId }, "the database is unavailable");
    return respondWithProblem(c, error, requestId);
  });
  return app;

  /** Nothing is reachable without a rule: who registers a handler says who may call it. */
  function register(
    to: typeof app,
    route: { method: string; path: string; access: Access; handle: Route["handle"]; tracedAs?: string | undefined },
  ) {
    const { access, handle, tracedAs } = route;
    const guarded: Route["handle"] = (c) => {
      refuseUnreadableAddress(c);
      const admitted = guard(c, access);
      return admitted === undefined ? handle(c) : admitted.then(() => handle(c));
    };
    to.on(route.method, route.path, tracedAs === undefined ? guarded : (c) => traceRequest(c, tracedAs, guarded));
  }
}

/** The pages show everything; who may not see everything sees none of them. */
async function showPage(c: ApiContext, page: Handler): Promise<Response> {
  if (c.get("caller").accountPrefix !== "") {
    throw new InturnError("scope_missing", "The pages show all accounts, and this key reaches only some.");
  }
  return (await page(c, async () => undefined)) as Response;
}

/**
 * Which methods a path takes, for who comes with another one. Asked only when nothing was found: a handler for every other
 * method would make each request pass through two.
 */
function listMethods(app: Hono<ApiEnvironment>): (path: string) => string | undefined {
  const methods = new Map<string, string[]>();
  for (const { path, method } of app.routes) {
    methods.set(path, [...(methods.get(path) ?? []), ...(method === "GET" ? ["GET", "HEAD"] : [method])]);
  }
  const patterns = [...methods].map(([path, allowed]) => ({
    pattern: new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/:\w+/g, "[^/]+")}$`),
    allowed: allowed.join(", "),
  }));
  return (path) => patterns.find(({ pattern }) => pattern.test(path))?.allowed;
}
