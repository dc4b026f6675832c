import { setTimeout as sleep } from "node:timers/promises";
import type { Settings } from "../config/settings.ts";
import { createRules, type RetryRule } from "../domain/failure.ts";
import { isUnavailable } from "../errors/database.ts";
import type { Log } from "../log/log.ts";
import { startDispatcher } from "../worker/dispatcher.ts";
import { type HandlerModule, loadHandler } from "../worker/handler-module.ts";
import type { PresetOptions } from "../worker/preset.ts";
import { createSleepHandler } from "../worker/sleep.ts";
import { Worker } from "../worker/worker.ts";

/** A worker under graphile-worker's runner. */
export interface RunningWorker {
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

/** What both ways of starting a worker share: the handler, the worker, and what graphile-worker's preset needs. */
export async function composeWorker(options: WorkOptions): Promise<PresetOptions> {
  const { settings, databaseUrl, log } = options;
  const { handler, eventTypes } = await readHandler(settings);
  const { concurrency, leaseMs, shutdownMs, keepDays } = settings;
  const ruleOf = createRules(ruleOfDeployment(settings), eventTypes);
  const worker = new Worker({ databaseUrl, handler, ruleOf, log, concurrency, leaseMs, shutdownMs, keepDays });
  return { worker, databaseUrl, concurrency, shutdownMs, log };
}

/**
 * Starts a worker in this process; resolves when it works. While the database is away it waits for it. Signals are the
 * caller's business.
 *
 * @param options.signal aborts the wait
 */
export async function startWorker(options: WorkOptions & { signal?: AbortSignal }): Promise<RunningWorker> {
  const composed = await composeWorker(options);
  const { worker, log } = composed;
  await startPatiently(worker, log, options.signal);
  const dispatcher = startDispatcher(composed);

  async function stop(): Promise<void> {
    worker.beginStop();
    await dispatcher.stop();
    await worker.drained();
    await worker.close();
  }
  return { stop, forceStop: () => worker.forceStop() };
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

async function readHandler(settings: Settings): Promise<HandlerModule> {
  if (settings.handler !== undefined) return await loadHandler(settings.handler);
  return { handler: createSleepHandler(settings.handlerMs), eventTypes: {} };
}

function ruleOfDeployment(settings: Settings): RetryRule {
  const { attemptsMax, backoffMs, backoffMsMax, handlerTimeoutMs, failurePolicy, parkMs } = settings;
  return { attemptsMax, backoffMs, backoffMsMax, handlerTimeoutMs, failurePolicy, parkMs };
}
