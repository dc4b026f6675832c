import { TARGET_RULE } from "../domain/target.ts";
import { WorkerMetrics } from "../metrics/worker-metrics.ts";
import type { PresetOptions } from "../worker/preset.ts";
import { Worker } from "../worker/worker.ts";
import { composeHandler, loadNamedHandler } from "./compose-handler.ts";
import type { Listening } from "./listening.ts";
import type { WorkOptions } from "./work-options.ts";

/** A worker with its parts, before it starts. */
export interface ComposedWorker extends PresetOptions {
  readonly listener: Listening | undefined;
  /** What it has counted, for Prometheus. */
  readonly exposeMetrics: () => Promise<string>;
}

/** What both ways of starting a worker share: the handler, the worker, its listener, and what graphile-worker's preset needs. */
export async function composeWorker(options: WorkOptions & { signal?: AbortSignal }): Promise<ComposedWorker> {
  const { settings, databaseUrl, poolerUrl, log, ownsProcess = true } = options;
  const named = options.handler ?? (await loadNamedHandler(settings, options.signal));
  const { handler, batch, handlerName, ruleOf, targets } = await composeHandler(settings, named);
  const { concurrency, readAheadBytesMax, leaseMs, shutdownMs, keepDays, workerConnectionsMax } = settings;
  const targetRuleOf = (target: string) => ({ ...TARGET_RULE, ...targets[target] });
  const metrics = new WorkerMetrics({ hasProcess: ownsProcess });
  const limits = { concurrency, readAheadBytesMax, leaseMs, shutdownMs, keepDays, workerConnectionsMax };
  const worker = new Worker({
    databaseUrl,
    poolerUrl,
    handler,
    batch,
    handlerName,
    ruleOf,
    targetRuleOf,
    log,
    metrics,
    ...limits,
    ownsProcess,
  });
  const { metricsPort: port } = settings;
  const exposeMetrics = async () => {
    const { inHand, recovery } = worker;
    return await metrics.expose({ inHand, concurrency, stalledMs: recovery.stalledMs });
  };
  const listening = { ...options, exposeMetrics, isReady: () => worker.isReady };
  const listener =
    port === undefined ? undefined : await (await loadListener()).startWorkerListener({ ...listening, port });
  return { worker, listener, exposeMetrics, databaseUrl, concurrency, shutdownMs, log };
}

/** A worker without a port does without what serves HTTP. */
const loadListener = async () => await import("./worker-listener.ts");
