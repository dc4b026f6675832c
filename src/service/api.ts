import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { serve } from "@hono/node-server";
import type { Settings } from "../config/settings.ts";
import { createDashboard } from "../dashboard/dashboard.ts";
import { listApiKeys } from "../db/api-keys.ts";
import { type Database, openDatabase } from "../db/pool.ts";
import { type Access, createAccess } from "../engine/access.ts";
import { createAppender } from "../engine/append.ts";
import { PulseWatch } from "../engine/pulse.ts";
import { Waiting } from "../engine/waiting.ts";
import { InturnError } from "../errors/error.ts";
import { createApp } from "../http/app.ts";
import type { Log } from "../log/log.ts";

/** A listening API. */
export interface Api {
  readonly url: string;
  /** Stops listening, lets the requests under way finish, and closes the connections. */
  close(): Promise<void>;
}

/** Appends take one connection; the others read. */
const CONNECTIONS_MAX = 8;

/** Longest time of one statement: past it the client hears that the database is unavailable. */
const STATEMENT_MS_MAX = 10_000;

/** An account that somebody else holds for longer than this leaves its batch (see engine/detour.ts). */
const LOCK_MS_MAX = 200;

/** A request must have arrived whole after this long. */
const REQUEST_MS_MAX = 30_000;

/** Its headers after this long. */
const HEADERS_MS_MAX = 10_000;

/** Requests under way when the API stops get this long. */
const CLOSE_MS_MAX = 5_000;

/** While the API stops, connections without a request under way are looked for this often. */
const IDLE_LOOK_MS = 50;

/** Starts the API process's part: door, reads and pages over one pool. */
export async function startApi(options: { settings: Settings; databaseUrl: string; log: Log }): Promise<Api> {
  const { settings, log } = options;
  const database = openDatabase({
    url: options.databaseUrl,
    name: "inturn api",
    connectionsMax: CONNECTIONS_MAX,
    statementMsMax: STATEMENT_MS_MAX,
    lockMsMax: LOCK_MS_MAX,
    onError: (error) => log.warn({ err: error }, "a database connection broke"),
  });
  const isLocal = isLoopback(settings.host);
  if (!isLocal) await requireKeys(database, settings, log);
  const access = createAccess({ database, environmentKeys: settings.apiKeys ?? [] });
  const waiting = new Waiting(database);
  const watch = new PulseWatch(database);
  const { basePath } = settings;
  const dashboard = createDashboard({ database, watch, log, basePath });
  const app = createApp({
    appender: createAppender(database, settings),
    database,
    log,
    limits: settings,
    waiting,
    access,
    isLocal,
    pages: dashboard,
    basePath,
  });
  const { promise: listening, resolve, reject } = Promise.withResolvers<AddressInfo>();
  const server = serve(
    {
      fetch: app.fetch,
      hostname: settings.host,
      port: settings.port,
      serverOptions: {
        requestTimeout: REQUEST_MS_MAX,
        headersTimeout: HEADERS_MS_MAX,
        connectionsCheckingInterval: 1_000,
      },
    },
    resolve,
  ) as Server;
  limitConnections(server, settings.connectionsMax, log);
  server.on("error", reject);
  const { address, port, family } = await listening;
  const url = `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
  log.info({ url }, "listening");
  if (isLocal) void sayIfOpen(access, log);
  const watching = watch.run();
  const close = async () => {
    waiting.close();
    dashboard.close();
    watch.close();
    await closeServer(server);
    await watching;
    await database.end();
  };
  return { url, close };
}

/** Addresses that only this machine can reach. */
function isLoopback(host: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|::1)$/i.test(host);
}

/**
 * Where others can reach it, nobody comes in without a key; a server that nobody could use is not started. While the
 * database is away nobody knows, and whoever comes has to wait for it.
 */
async function requireKeys(database: Database, settings: Settings, log: Log): Promise<void> {
  if (settings.apiKeys !== undefined) return;
  try {
    if ((await listApiKeys(database)).some((key) => key.revokedAt === null)) return;
  } catch (error) {
    log.warn({ err: error }, "could not look for API keys");
    return;
  }
  await database.end();
  throw new InturnError(
    "keys_needed",
    `${settings.host} can be reached by others, so callers need API keys, and there is none. Create one (npm run keys -- create --name me), or set INTURN_API_KEYS, or listen on 127.0.0.1.`,
  );
}

async function sayIfOpen(access: Access, log: Log): Promise<void> {
  try {
    if ((await access()).isEmpty) log.info("there is no API key: everybody on this machine may do everything");
  } catch (error) {
    log.debug({ err: error }, "nobody knows yet whether there are API keys");
  }
}

/** Between two lines about connections that were turned away. */
const TURNED_AWAY_LOG_MS = 60_000;

function limitConnections(server: Server, connectionsMax: number, log: Log): void {
  server.maxConnections = connectionsMax;
  let saidMs = Number.NEGATIVE_INFINITY;
  let turnedAway = 0;
  server.on("drop", () => {
    turnedAway += 1;
    if (performance.now() - saidMs < TURNED_AWAY_LOG_MS) return;
    saidMs = performance.now();
    log.warn({ turnedAway, connectionsMax }, "connections were turned away");
    turnedAway = 0;
  });
}

async function closeServer(server: Server): Promise<void> {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(() => server.closeAllConnections(), CLOSE_MS_MAX);
  server.close(() => resolve());
  // A connection whose last request has just been answered is idle from then on.
  const closing = setInterval(() => server.closeIdleConnections(), IDLE_LOOK_MS);
  await closed;
  clearInterval(closing);
  clearTimeout(timer);
}
