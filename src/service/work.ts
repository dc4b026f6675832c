import { setTimeout as sleep } from "node:timers/promises";
import { isUnavailable } from "../errors/database.ts";
import type { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";
import { startDispatcher } from "../worker/dispatcher.ts";
import type { Worker } from "../worker/worker.ts";
import { composeWorker } from "./compose-worker.ts";
import type { WorkOptions } from "./work-options.ts";

/** A worker under graphile-worker's runner. */
export interface RunningWorker {
  /** Where its metrics are; undefined without a port for them. */
  readonly metricsUrl: string | undefined;
  /** Resolves, with the reason, when the worker cannot go on and no other try would help. */
  readonly failed: Promise<InturnError>;
  /** What it has counted, for Prometheus. */
  readonly exposeMetrics: () => Promise<string>;
  /** Ends turns after the event in hand, gives the accounts back and lets go of everything. */
  stop(): Promise<void>;
  /** Ends the wait of `stop`: handlers are told to stop, and their accounts are given back. */
  forceStop(): Promise<void>;
}

/** Between two tries to reach a database that is away at the start. */
const RETRY_MS = 500;

/**
 * Starts a worker in this process; resolves when it works. While the database is away it waits for it. Signals are the
 * caller's business.
 *
 * @param options.signal aborts the wait
 */
export async function startWorker(options: WorkOptions & { signal?: AbortSignal }): Promise<RunningWorker> {
  const composed = await composeWorker(options);
  const { worker, listener, log } = composed;
  try {
    await startPatiently(worker, log, options.signal);
  } catch (error) {
    await worker.close();
    await listener?.close();
    throw error;
  }
  const dispatcher = startDispatcher(composed);

  async function stop(): Promise<void> {
    worker.beginStop();
    await dispatcher.stop();
    await worker.drained();
    await worker.close();
    await listener?.close();
  }
  return {
    metricsUrl: listener?.url,
    failed: dispatcher.failed,
    exposeMetrics: composed.exposeMetrics,
    stop,
    forceStop: () => worker.forceStop(),
  };
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
