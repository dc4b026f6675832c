import type { Hono } from "hono";
import type { Settings } from "../config/settings.ts";
import { createDashboard } from "../dashboard/dashboard.ts";
import { LOCK_MS_MAX } from "../db/locked.ts";
import { type Database, openDatabase } from "../db/pool.ts";
import type { Pulse } from "../db/pulse.ts";
import type { DatabaseAddress } from "../db/session-settings.ts";
import { APPEND_EVENTS_MAX } from "../domain/event.ts";
import { type Access, createAccess } from "../engine/access.ts";
import { AnswerBudget } from "../engine/answers.ts";
import type { Appender } from "../engine/append.ts";
import { PulseWatch } from "../engine/pulse.ts";
import { Waiting } from "../engine/waiting.ts";
import type { OpenTo } from "../http/access.ts";
import { createApp } from "../http/app.ts";
import type { ApiEnvironment, Menu } from "../http/route.ts";
import type { Log } from "../log/log.ts";
import { ApiMetrics } from "../metrics/api-metrics.ts";

/** For storing events: the batch, its look for locks, the API keys, and requests that wait for an event to be settled. */
const INGEST_CONNECTIONS_MAX = 4;

/** For reading, and for the operator's verbs. However slow they are, senders of events never wait for them. */
const READ_CONNECTIONS_MAX = 6;

/** Of one API process. */
export const API_CONNECTIONS_MAX: number = INGEST_CONNECTIONS_MAX + READ_CONNECTIONS_MAX;

/** A verb waits this long for its account's row. Nothing else waits for it. */
const VERB_LOCK_MS_MAX = 1_000;

/** Longest time of one statement: past it the client hears that the database is unavailable. */
const STATEMENT_MS_MAX = 10_000;

/** What the API is made of. */
export interface ApiOptions {
  readonly settings: Settings;
  /** PostgreSQL itself. */
  readonly databaseUrl: DatabaseAddress;
  /** A pooler in front of it: then the API speaks through it alone. */
  readonly poolerUrl?: DatabaseAddress | undefined;
  readonly log: Log;
}

/** The pools of the API: the ingest over one, reads and pages over another. They connect when they are asked. */
export interface ApiPools {
  readonly ingest: Database;
  readonly database: Database;
  end(): Promise<void>;
}

/** The API without a server. */
export interface ComposedApi {
  readonly app: Hono<ApiEnvironment>;
  readonly access: Access;
  /** How the whole system is, read a moment ago. Rejects while the database is away. */
  latestPulse(): Promise<Pulse>;
  /** Ends what waits: requests that wait for an event, and streams of pages. */
  beginClose(): void;
  /** Resolves when it asks the database nothing more. */
  closed(): Promise<void>;
}

/** Opens the pools. */
export function openApiPools({ databaseUrl: url, poolerUrl: pooler, log }: ApiOptions): ApiPools {
  const open = (connectionsMax: number, lockMsMax: number) =>
    openDatabase({
      url,
      pooler,
      name: "inturn api",
      connectionsMax,
      statementMsMax: STATEMENT_MS_MAX,
      lockMsMax,
      onError: (error) => log.warn({ err: error }, "a database connection broke"),
    });
  const ingest = open(INGEST_CONNECTIONS_MAX, LOCK_MS_MAX.append);
  const database = open(READ_CONNECTIONS_MAX, VERB_LOCK_MS_MAX);
  return { ingest, database, end: async () => void (await Promise.all([ingest.end(), database.end()])) };
}

/** Puts the API together, over pools that outlive it. */
export function composeApi(
  { settings, log }: Pick<ApiOptions, "settings" | "log">,
  parts: {
    pools: ApiPools;
    appender: Appender;
    metrics: ApiMetrics;
    openTo: OpenTo;
    /** What `/metrics` tells beside the API's own. */
    exposeMore?: () => Promise<string>;
    /** See `Pages.formSecret`. */
    formSecret?: string | undefined;
    /** See `ServerOptions.mount`. */
    mount?: string;
    /** See `Pages.menu`. */
    menu?: Menu;
  },
): ComposedApi {
  const { appender, metrics, openTo, formSecret, mount = "", exposeMore = async () => "" } = parts;
  const { ingest, database } = parts.pools;
  const access = createAccess({ database: ingest, environmentKeys: settings.apiKeys ?? [] });
  const waiting = new Waiting(ingest);
  const watch = new PulseWatch(database);
  const { basePath } = settings;
  const answers = new AnswerBudget();
  const dashboard = createDashboard({ database, watch, log, answers, basePath: `${basePath}${mount}` });
  const app = createApp({
    appender,
    ingest,
    database,
    log,
    limits: { ...settings, batchEventsMax: APPEND_EVENTS_MAX },
    waiting,
    answers,
    access,
    openTo,
    exposeMetrics: async () =>
      (await metrics.expose(await watch.latest().catch(() => undefined))) + (await exposeMore()),
    onRefused: (code) => metrics.refused(code),
    pages: { ...dashboard, formSecret, menu: parts.menu },
    basePath,
    mount,
  });
  const watching = watch.run();
  const beginClose = () => {
    waiting.close();
    dashboard.close();
    watch.close();
  };
  return { app, access, latestPulse: () => watch.latest(), beginClose, closed: () => watching };
}
