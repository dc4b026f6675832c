import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { serve } from "@hono/node-server";
import type { Settings } from "../config/settings.ts";
import { createResultsPages } from "../dashboard/results.ts";
import { openDatabase } from "../db/pool.ts";
import { createAppender } from "../engine/append.ts";
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
  const app = createApp({
    appender: createAppender(database, settings),
    database,
    log,
    limits: settings,
    access: { isLocal: true },
    pages: createResultsPages(database),
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
  server.on("error", reject);
  const { address, port, family } = await listening;
  const url = `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
  log.info({ url }, "listening");
  return { url, close: () => closeServer(server).then(() => database.end()) };
}

async function closeServer(server: Server): Promise<void> {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(() => server.closeAllConnections(), CLOSE_MS_MAX);
  server.close(() => resolve());
  server.closeIdleConnections();
  await closed;
  clearTimeout(timer);
}
