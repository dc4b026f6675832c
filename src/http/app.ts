/**
 * The HTTP API. It knows the database's doors and views, and nothing of workers.
 */
import { randomUUID } from "node:crypto";
import { type Context, type Handler, Hono } from "hono";
import type { Database } from "../db/pool.ts";
import { isReady } from "../db/progress.ts";
import { VERBS } from "../domain/account.ts";
import type { Appender } from "../engine/append.ts";
import { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";
import { getAccount, getAccountEvents, getAccounts } from "./accounts.ts";
import { postEvents } from "./events.ts";
import { postOperation } from "./operations.ts";
import { respondWithProblem, toInturnError } from "./problem.ts";

/** What the API stands on. */
export interface AppOptions {
  readonly appender: Appender;
  /** For reading, and for the operator's verbs. */
  readonly database: Database;
  readonly log: Log;
  /** Pages for people, by path. */
  readonly pages?: Readonly<Record<string, Handler>>;
}

/** Creates the API. */
export function createApp(options: AppOptions): Hono {
  const { appender, database, log } = options;
  const app = new Hono({ strict: true });
  app.use(refuseUnreadableAddress);
  route(app, "POST", "/v1/events", (c) => postEvents(c, appender));
  route(app, "GET", "/v1/accounts", (c) => getAccounts(c, database));
  route(app, "GET", "/v1/accounts/:id", (c) => getAccount(c, database));
  route(app, "GET", "/v1/accounts/:id/events", (c) => getAccountEvents(c, database));
  for (const verb of VERBS) route(app, "POST", `/v1/accounts/:id/${verb}`, (c) => postOperation(c, verb, database));
  route(app, "GET", "/livez", (c) => c.json({ status: "ok" }));
  route(app, "GET", "/readyz", (c) => getReadiness(c, database));
  for (const [path, page] of Object.entries(options.pages ?? {})) route(app, "GET", path, page);
  app.notFound(() => {
    throw new InturnError(
      "route_not_found",
      "There is nothing at this path; the API begins at /v1/events and /v1/accounts.",
    );
  });
  app.onError((thrown, c) => {
    const error = toInturnError(thrown);
    const requestId = randomUUID();
    if (error.code === "internal") log.error({ err: thrown, requestId, path: c.req.path }, "a request failed");
    else if (error.code === "database_unavailable") log.warn({ err: thrown, requestId }, "the database is unavailable");
    return respondWithProblem(c, error, requestId);
  });
  return app;
}

/** Registers a handler, and tells who comes with another method which one is right. */
function route(app: Hono, method: "GET" | "POST", path: string, handler: Handler): void {
  app.on(method, path, handler);
  app.all(path, (c) => {
    const allowed = method === "GET" ? "GET, HEAD" : method;
    c.header("Allow", allowed);
    throw new InturnError("method_not_allowed", `This path takes ${allowed}.`);
  });
}

async function getReadiness(c: Context, database: Database): Promise<Response> {
  if (await isReady(database)) return c.json({ status: "ready" });
  throw new InturnError("database_not_migrated", "The database answers, but lacks our tables; it must be migrated.");
}

/**
 * An address that no text spells, has a NUL in it, or names another host (a proxy's form), is refused before anything is
 * looked up by it.
 */
async function refuseUnreadableAddress(c: Context, next: () => Promise<void>): Promise<void> {
  const { incoming } = (c.env ?? {}) as { incoming?: { url?: string } };
  if (incoming?.url?.startsWith("/") === false) {
    throw new InturnError("path_invalid", "The request names a whole URL; this is no proxy: send the path alone.");
  }
  const address = c.req.url.slice(c.req.url.indexOf("/", "https://".length));
  const [path = "", query = ""] = address.split(/\?(.*)/s, 2);
  if (!isReadable(path)) throw new InturnError("path_invalid", "The path has a percent-encoding that spells no text.");
  if (!isReadable(query))
    throw new InturnError("query_invalid", "The query has a percent-encoding that spells no text.");
  await next();
}

function isReadable(encoded: string): boolean {
  if (!encoded.includes("%")) return true;
  try {
    return !decodeURIComponent(encoded).includes("\0");
  } catch {
    return false;
  }
}
