import { setTimeout as sleep } from "node:timers/promises";
import type { Settings } from "../config/settings.ts";
import { createRules, type RetryRule } from "../domain/failure.ts";
import { isUnavailable } from "../errors/database.ts";
import type { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";
import { WorkerMetrics } from "../metrics/worker-metrics.ts";
import { startDispatcher } from "../worker/dispatcher.ts";
import { type HandlerModule, loadHandler, requireHandler, SLEEP } from "../worker/handler-module.ts";
import type { PresetOptions } from "../worker/preset.ts";
import { createSleepHandler } from "../worker/sleep.ts";
import { Worker } from "../worker/worker.ts";
import type { Listening } from "./listen.ts";
import { refuseUnknownOptions } from "./options.ts";
import { startWorkerListener } from "./worker-listener.ts";

/** A worker under graphile-worker's runner. */
export interface RunningWorker {
  /** Where its metrics are; undefined without a port for them. */
  readonly metricsUrl: string | undefined;
  /** Resolves, with the reason, when the worker cannot go on and no other try would help. */
  readonly failed: Promise<InturnError>;
  /** Ends turns after the event in hand, gives the accounts back and lets go of everything. */
  stop(): Promise<void>;
  /** Ends the wait of `stop`: handlers are told to stop, and their accounts are given back. */
  forceStop(): Promise<void>;
}

/** What a worker is composed of. */
export interface WorkOptions {
  readonly settings: Settings;
  readonly databaseUrl: string;
  readonly log: Log;
}

/** Between two tries to reach a database that is away at the start. */
const RETRY_MS = 500;

/** A worker with its parts, before it starts. */
export interface ComposedWorker extends PresetOptions {
  readonly listener: Listening | undefined;
}

/** What both ways of starting a worker share: the handler, the worker, its listener, and what graphile-worker's preset needs. */
export async function composeWorker(options: WorkOptions & { signal?: AbortSignal }): Promise<ComposedWorker> {
  const { settings, databaseUrl, log } = options;
  const { handler, eventTypes } = await readHandler(settings, options.signal);
  const { concurrency, readAheadBytesMax, leaseMs, shutdownMs, keepDays } = settings;
  const ruleOf = createRules(ruleOfDeployment(settings), eventTypes);
  const metrics = new WorkerMetrics({ hasProcess: true });
  const limits = {
    concurrency,
    readAheadBytesMax,
    leaseMs,
    shutdownMs,
    keepDays,
    handlerName: requireHandler(settings.handler),
  };
  const worker = new Worker({ databaseUrl, handler, ruleOf, log, metrics, ...limits });
  const { metricsPort: port } = settings;
  const exposeMetrics = async () => {
    const { inHand, recovery } = worker;
    return await metrics.expose({ inHand, concurrency, stalledMs: recovery.stalledMs });
  };
  const listening = { ...options, exposeMetrics, isReady: () => worker.isReady };
  const listener = port === undefined ? undefined : await startWorkerListener({ ...listening, port });
  return { worker, listener, databaseUrl, concurrency, shutdownMs, log };
}

/**
 * Starts a worker in this process; resolves when it works. While the database is away it waits for it. Signals are the
 * caller's business.
 *
 * @param options.signal aborts the wait
 */
export async function startWorker(options: WorkOptions & { signal?: AbortSignal }): Promise<RunningWorker> {
  refuseUnknownOptions("startWorker", options, ["settings", "databaseUrl", "log", "signal"]);
  const composed = await composeWorker(options);
  const { worker, listener, log } = composed;
  await startPatiently(worker, log, options.signal);
  const dispatcher = startDispatcher(composed);

  async function stop(): Promise<void> {
    worker.beginStop();
    await dispatcher.stop();
    await worker.drained();
    await worker.close();
    await listener?.close();
  }
  return { metricsUrl: listener?.url, failed: dispatcher.failed, stop, forceStop: () => worker.forceStop() };
}

async function startPatiently(worker: Worker, log: Log, signal: AbortSignal | undefined): Promise<void> {
  for (;;) {
    try {
      return await worker.start();
    } catch (error) {
      if (!isUnavailable(error) || signal?.aborted === true) throw error;
      log.warn({ err: error }, "the database is away; trying again");
      await sleep(RETRY_MS, undefined, signal === undefined ? {} : { signal });
    }
  }
}

async function readHandler(settings: Settings, signal: AbortSignal | undefined): Promise<HandlerModule> {
  const name = requireHandler(settings.handler);
  if (name !== SLEEP) return await loadHandler(name, { signal });
  return { handler: createSleepHandler(settings.handlerMs), eventTypes: {} };
}

function ruleOfDeployment(settings: Settings): RetryRule {
  const { attemptsMax, backoffMs, backoffMsMax, handlerTimeoutMs, failurePolicy, parkMs } = settings;
  return { attemptsMax, backoffMs, backoffMsMax, handlerTimeoutMs, failurePolicy, parkMs };
}
