/**
 * A worker's own listener: what it counts, for Prometheus, whether it lives, and whether it can do its work.
 */

import type { Settings } from "../config/settings.ts";
import { openDatabase } from "../db/pool.ts";
import type { DatabaseAddress } from "../db/session-settings.ts";
import { createAccess } from "../engine/access.ts";
import { createServerApp } from "../http/app.ts";
import { createLivenessRoute, createWorkerReadinessRoute } from "../http/health.ts";
import { createMetricsRoute } from "../http/metrics.ts";
import type { Log } from "../log/log.ts";
import { listen } from "./listen.ts";
import type { Listening } from "./listening.ts";
import { openToWhom } from "./open-access.ts";

/** Few clients read metrics. */
const CONNECTIONS_MAX = 100;

/** Starts the listener on the host and the port for metrics of the settings. The same keys are needed as at the API. */
export async function startWorkerListener(options: {
  settings: Settings;
  databaseUrl: DatabaseAddress;
  poolerUrl?: DatabaseAddress | undefined;
  port: number;
  log: Log;
  exposeMetrics: () => Promise<string>;
  isReady: () => boolean;
}): Promise<Listening> {
  const { settings, databaseUrl: url, poolerUrl: pooler, port, log, exposeMetrics, isReady } = options;
  const onError = (error: Error) => log.debug({ err: error }, "a database connection broke");
  const database = openDatabase({ url, pooler, name: "inturn metrics", connectionsMax: 1, onError });
  try {
    const openTo = await openToWhom(database, settings, log);
    const access = createAccess({ database, environmentKeys: settings.apiKeys ?? [] });
    const routes = [createMetricsRoute(exposeMetrics), createLivenessRoute(), createWorkerReadinessRoute(isReady)];
    const app = createServerApp({ access, openTo, log, basePath: settings.basePath }, { routes });
    const { host, keepAliveMs } = settings;
    const server = await listen({ fetch: app.fetch, host, port, connectionsMax: CONNECTIONS_MAX, keepAliveMs, log });
    log.info({ url: server.url }, "metrics are at /metrics");
    const close = async () => {
      await server.close();
      await database.end();
    };
    return { url: server.url, close };
  } catch (error) {
    await database.end();
    throw error;
  }
}
