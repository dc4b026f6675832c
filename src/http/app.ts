/**
 * The HTTP API. It knows the database's functions and views, and nothing of workers.
 */
import { randomUUID } from "node:crypto";
import { Hono } from "hono";
import { getPath } from "hono/utils/url";
import type { Database } from "../db/pool.ts";
import type { AnswerBudget } from "../engine/answers.ts";
import type { Appender } from "../engine/append.ts";
import { BodyBudget, UNKNOWN_BODIES_BYTES_MAX } from "../engine/body-budget.ts";
import type { Waiting } from "../engine/waiting.ts";
import type { ErrorCode } from "../errors/codes.ts";
import { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";
import { createGuard, type Guard, type GuardOptions } from "./access.ts";
import { createAccountEventRoutes } from "./account-events.ts";
import { createAccountRoutes } from "./accounts.ts";
import { refuseUnreadableAddress } from "./address.ts";
import { createBulkOperationRoutes } from "./bulk-operations.ts";
import { createDocsPages } from "./docs.ts";
import type { IngestLimits } from "./event-schema.ts";
import { createEventRoutes } from "./events.ts";
import { createFindEventsRoute } from "./find-events.ts";
import { createHealthRoutes } from "./health.ts";
import { createMetricsRoute } from "./metrics.ts";
import { createDescription } from "./openapi.ts";
import { createOperationRoutes } from "./operations.ts";
import { type Pages, type Reported, registerPages } from "./pages.ts";
import { createPauseRoutes } from "./pauses.ts";
import { respondWithProblem, toInturnError } from "./problem.ts";
import { RateLimits } from "./rate-limits.ts";
import type { Access, ApiContext, ApiEnvironment, Route } from "./route.ts";
import { createTargetRoutes } from "./targets.ts";
import { traceRequest } from "./trace.ts";
import { createWebhookRoutes } from "./webhooks.ts";

/** What every server of ours stands on. */
export interface ServerOptions extends GuardOptions {
  readonly log: Log;
  /** What a proxy puts before every path, and may leave there: `/inturn`; empty without one. */
  readonly basePath?: string;
  /** Where this server is in another one of ours, below the base path: `/cells/a`; empty when it is in none. */
  readonly mount?: string;
  /** Hears the code of every error that a client is told of. */
  readonly onRefused?: (code: ErrorCode) => void;
}

/** What the API stands on. */
export interface AppOptions extends ServerOptions {
  readonly appender: Appender;
  /** What the appender stores through: what is ready says whether events can be stored. */
  readonly ingest: Database;
  /** For reading, and for the operator's verbs. */
  readonly database: Database;
  readonly waiting: Waiting;
  /** Memory for answers, shared with the pages. */
  readonly answers: AnswerBudget;
  readonly limits: IngestLimits;
  /** Everything that is counted, as text. */
  readonly exposeMetrics: () => Promise<string>;
  readonly pages?: Pages;
}

/** Creates the API. */
export function createApp(options: AppOptions): Hono<ApiEnvironment> {
  const { database, pages } = options;
  const routes: Route[] = [
    ...createIngestRoutes(options),
    ...createAccountRoutes(database),
    ...createAccountEventRoutes(options),
    createFindEventsRoute(database),
    ...createOperationRoutes(database, options.log),
    ...createTargetRoutes(database, options.log),
    ...createPauseRoutes(database, options.log),
    ...createBulkOperationRoutes(database, options.log),
    ...createHealthRoutes(options.ingest),
    createMetricsRoute(options.exposeMetrics),
  ];
  routes.push(createDescription(routes));
  return createServerApp(options, { routes, docs: createDocs(), ...(pages !== undefined && { pages }) });
}

/** What takes events: from who has a key, and from who signs. */
export function createIngestRoutes(options: ServerOptions & Pick<AppOptions, "appender" | "limits">): Route[] {
  const { bodyBytesMax } = options.limits;
  return [
    ...createEventRoutes({ ...options, budget: new BodyBudget({ bodyBytesMax }), rates: new RateLimits() }),
    ...createWebhookRoutes({
      ...options,
      budget: new BodyBudget({ bodyBytesMax, bytesMax: UNKNOWN_BODIES_BYTES_MAX }),
    }),
  ];
}

/** The pages that describe the API. */
export function createDocs(): Doc[] {
  return Object.entries(createDocsPages()).map(([path, handle]) => ({ path, handle: handle as Route["handle"] }));
}

/** A page open to everybody. */
interface Doc {
  readonly path: string;
  readonly handle: Route["handle"];
}

/** What a server answers. */
interface Served {
  readonly routes: readonly Route[];
  /** Open to everybody. */
  readonly docs?: readonly Doc[];
  readonly pages?: Pages;
  /** What is answered where there is nothing; `route_not_found` unless told. */
  readonly missing?: InturnError;
}

/** Creates a server: the guard before its routes, and what is answered where there is none. */
export function createServerApp(options: ServerOptions, served: Served): Hono<ApiEnvironment> {
  const { basePath = "", mount = "" } = options;
  const app = new Hono<ApiEnvironment>({
    strict: true,
    getPath: (request) => pathUnder(mount, pathUnder(basePath, getPath(request))),
  });
  const guard = createGuard(options);
  const report = (c: ApiContext, thrown: unknown) => reportError(c, thrown, options);
  for (const { spec, access, handle, isTraced } of served.routes) {
    const path = spec.path.replaceAll(/\{(\w+)\}/g, ":$1");
    const tracedAs = isTraced === true ? spec.path : undefined;
    register(app, guard, { method: spec.method.toUpperCase(), path, access, handle, tracedAs });
  }
  for (const { path, handle } of served.docs ?? []) {
    register(app, guard, { method: "GET", path, access: "open", handle });
  }
  if (served.pages !== undefined)
    registerPages(app, { pages: served.pages, guard, basePath: `${basePath}${mount}`, report });
  const methodsOf = listMethods(app);
  app.notFound((c) => {
    refuseUnreadableAddress(c);
    const allowed = methodsOf(c.req.path);
    if (allowed !== undefined) {
      c.header("Allow", allowed);
      throw new InturnError("method_not_allowed", `This path takes ${allowed}.`);
    }
    throw (
      served.missing ??
      new InturnError("route_not_found", "There is nothing at this path; /openapi.json describes what there is.")
    );
  });
  app.onError((thrown, c) => {
    const { error, requestId } = report(c, thrown);
    return respondWithProblem(c, error, requestId);
  });
  return app;
}

/** Nothing is reachable without a rule: who registers a handler says who may call it. */
function register(
  app: Hono<ApiEnvironment>,
  guard: Guard,
  route: { method: string; path: string; access: Access; handle: Route["handle"]; tracedAs?: string | undefined },
): void {
  const { access, handle, tracedAs } = route;
  const guarded: Route["handle"] = (c) => {
    refuseUnreadableAddress(c);
    const admitted = guard(c, access);
    return admitted === undefined ? handle(c) : admitted.then(() => handle(c));
  };
  app.on(route.method, route.path, tracedAs === undefined ? guarded : (c) => traceRequest(c, tracedAs, guarded));
}

/** What a client is told of an error, and the log of one that is ours. */
function reportError(c: ApiContext, thrown: unknown, { log, onRefused }: ServerOptions): Reported {
  const error = toInturnError(thrown);
  const requestId = randomUUID();
  onRefused?.(error.code);
  if (error.code === "internal") log.error({ err: thrown, requestId, path: c.req.path }, "a request failed");
  else if (error.code === "database_unavailable") log.warn({ err: thrown, requestId }, "the database is unavailable");
  return { error, requestId };
}

/** Proxies may take the base path away or leave it: the same is found with and without it. */
function pathUnder(basePath: string, path: string): string {
  if (basePath === "" || !path.startsWith(basePath)) return path;
  const rest = path.slice(basePath.length);
  return rest === "" ? "/" : rest.startsWith("/") ? rest : path;
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
