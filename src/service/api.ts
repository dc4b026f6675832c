import type { Settings } from "../config/settings.ts";
import { createDashboard } from "../dashboard/dashboard.ts";
import { LOCK_MS_MAX } from "../db/locked.ts";
import { openDatabase } from "../db/pool.ts";
import { APPEND_EVENTS_MAX } from "../domain/event.ts";
import { AnswerBudget } from "../engine/answers.ts";
import { createAppender } from "../engine/append.ts";
import { PulseWatch } from "../engine/pulse.ts";
import { Waiting } from "../engine/waiting.ts";
import { createApp } from "../http/app.ts";
import type { Log } from "../log/log.ts";
import { ApiMetrics } from "../metrics/api-metrics.ts";
import { listen } from "./listen.ts";
import type { Listening } from "./listening.ts";
import { openAccess, sayIfOpen } from "./open-access.ts";
import { refuseUnknownOptions } from "./options.ts";

/** For storing events: the batch, its look for locks, the API keys, and requests that wait for an event to be settled. */
const INGEST_CONNECTIONS_MAX = 4;

/** For reading, and for the operator's verbs. However slow they are, senders of events never wait for them. */
const READ_CONNECTIONS_MAX = 6;

/** The most HTTP connections; more are closed at once. Each has a socket and buffers, and a process has 4,096 files or more. */
const CONNECTIONS_MAX = 2_000;

/** A verb waits this long for its account's row. Nothing else waits for it. */
const VERB_LOCK_MS_MAX = 1_000;

/** Longest time of one statement: past it the client hears that the database is unavailable. */
const STATEMENT_MS_MAX = 10_000;

/** Starts the API process's part: the ingest over one pool, reads and pages over another. */
export async function startApi(options: { settings: Settings; databaseUrl: string; log: Log }): Promise<Listening> {
  refuseUnknownOptions("startApi", options, ["settings", "databaseUrl", "log"]);
  const { settings, log } = options;
  const open = (connectionsMax: number, lockMsMax: number) =>
    openDatabase({
      url: options.databaseUrl,
      name: "inturn api",
      connectionsMax,
      statementMsMax: STATEMENT_MS_MAX,
      lockMsMax,
      onError: (error) => log.warn({ err: error }, "a database connection broke"),
    });
  const ingest = open(INGEST_CONNECTIONS_MAX, LOCK_MS_MAX);
  const database = open(READ_CONNECTIONS_MAX, VERB_LOCK_MS_MAX);
  const endAll = async () => void (await Promise.all([ingest.end(), database.end()]));
  const { access, isLocal } = await openAccess(ingest, options).catch(async (error: unknown) => {
    await endAll();
    throw error;
  });
  const metrics = new ApiMetrics({ hasProcess: true });
  const waiting = new Waiting(ingest);
  const watch = new PulseWatch(database);
  const { basePath } = settings;
  const answers = new AnswerBudget();
  const dashboard = createDashboard({ database, watch, log, answers, basePath });
  const app = createApp({
    appender: createAppender(ingest, settings, metrics),
    ingest,
    database,
    log,
    limits: { ...settings, batchEventsMax: APPEND_EVENTS_MAX },
    waiting,
    answers,
    access,
    isLocal,
    exposeMetrics: async () => await metrics.expose(await watch.latest().catch(() => undefined)),
    onRefused: (code) => metrics.refused(code),
    pages: dashboard,
    basePath,
  });
  const { host, port, keepAliveMs } = settings;
  const limits = { connectionsMax: CONNECTIONS_MAX, keepAliveMs };
  const server = await listen({ fetch: app.fetch, host, port, ...limits, log });
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
    await endAll();
  };
  return { url, close };
}
