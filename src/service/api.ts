import type { Settings } from "../config/settings.ts";
import { createDashboard } from "../dashboard/dashboard.ts";
import { LOCK_MS_MAX } from "../db/locked.ts";
import { openDatabase } from "../db/pool.ts";
import { createAppender } from "../engine/append.ts";
import { PulseWatch } from "../engine/pulse.ts";
import { Waiting } from "../engine/waiting.ts";
import { createApp } from "../http/app.ts";
import type { Log } from "../log/log.ts";
import { ApiMetrics } from "../metrics/api-metrics.ts";
import { type Listening, listen } from "./listen.ts";
import { openAccess, sayIfOpen } from "./open-access.ts";

/** Appends take one connection; the others read. */
const CONNECTIONS_MAX = 8;

/** Longest time of one statement: past it the client hears that the database is unavailable. */
const STATEMENT_MS_MAX = 10_000;

/** Starts the API process's part: door, reads and pages over one pool. */
export async function startApi(options: { settings: Settings; databaseUrl: string; log: Log }): Promise<Listening> {
  const { settings, log } = options;
  const database = openDatabase({
    url: options.databaseUrl,
    name: "inturn api",
    connectionsMax: CONNECTIONS_MAX,
    statementMsMax: STATEMENT_MS_MAX,
    lockMsMax: LOCK_MS_MAX,
    onError: (error) => log.warn({ err: error }, "a database connection broke"),
  });
  const { access, isLocal } = await openAccess(database, options).catch(async (error: unknown) => {
    await database.end();
    throw error;
  });
  const metrics = new ApiMetrics({ hasProcess: true });
  const waiting = new Waiting(database);
  const watch = new PulseWatch(database);
  const { basePath } = settings;
  const dashboard = createDashboard({ database, watch, log, basePath });
  const app = createApp({
    appender: createAppender(database, settings, metrics),
    database,
    log,
    limits: settings,
    waiting,
    access,
    isLocal,
    exposeMetrics: async () => await metrics.expose(await watch.latest().catch(() => undefined)),
    onRefused: (code) => metrics.refused(code),
    pages: dashboard,
    basePath,
  });
  const { host, port, connectionsMax } = settings;
  const server = await listen({ fetch: app.fetch, host, port, connectionsMax, log });
  const { url } = server;
  log.info({ url }, "listening");
  if (isLocal) void sayIfOpen(access, log);
  const watching = watch.run();
  const close = async () => {
    waiting.close();
    dashboard.close();
    watch.close();
    await server.close();
    await watching;
    await database.end();
  };
  return { url, close };
}
