import type { Settings } from "../config/settings.ts";
import { createAppender } from "../engine/append.ts";
import { ApiMetrics } from "../metrics/api-metrics.ts";
import { type ApiOptions, composeApi, openApiPools } from "./compose-api.ts";
import { listen } from "./listen.ts";
import type { Listening } from "./listening.ts";
import { openToWhom, sayIfOpen } from "./open-access.ts";
import type { PortShare } from "./port-share.ts";

/** The most HTTP connections; more are closed at once. Each has a socket and buffers, and a process has 4,096 files or more. */
const CONNECTIONS_MAX = 2_000;

/**
 * Starts the API process's part.
 *
 * @param share of this process, when it is one of several on one port
 */
export async function startApi(options: ApiOptions, share?: PortShare): Promise<Listening> {
  const { settings, log } = options;
  const pools = openApiPools(options);
  const openTo = await openToWhom(pools.ingest, settings, log).catch(async (error: unknown) => {
    await pools.end();
    throw error;
  });
  const metrics = new ApiMetrics({ hasProcess: true, share: share?.metrics });
  const appender = createAppender(pools.ingest, settings, metrics);
  const api = composeApi(options, { pools, appender, metrics, openTo, formSecret: share?.formSecret });
  const server = await listenAs(settings, { fetch: api.app.fetch, isShared: share !== undefined, log }).catch(
    async (error: unknown) => {
      await close();
      throw error;
    },
  );
  const { url } = server;
  log.info({ url }, "listening");
  void sayIfOpen(api.access, openTo, log);
  return {
    url,
    close: async () => await close(server),
  };

  async function close(listening?: Listening): Promise<void> {
    api.beginClose();
    await listening?.close();
    await api.closed();
    await pools.end();
  }
}

/** Listens where the settings say. @param options.isShared whether other processes listen there, too */
export async function listenAs(
  { host, port, keepAliveMs }: Settings,
  { isShared, ...options }: Pick<Parameters<typeof listen>[0], "fetch" | "log"> & { isShared: boolean },
): Promise<Listening> {
  return await listen({ ...options, host, port, keepAliveMs, sharesPort: isShared, connectionsMax: CONNECTIONS_MAX });
}
