import { setTimeout as sleep } from "node:timers/promises";
import { run } from "graphile-worker";
import type { Settings } from "../config/settings.ts";
import { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";
import { loadHandler } from "../worker/handler-module.ts";
import { createPreset } from "../worker/preset.ts";
import { createSleepHandler } from "../worker/sleep.ts";
import { Worker } from "../worker/worker.ts";

/** A worker under graphile-worker's runner. */
export interface RunningWorker {
  /** Ends turns after the event in hand, gives the accounts back and lets go of everything. */
  stop(): Promise<void>;
  /** Rejects if the worker ends without having been told to. */
  readonly ended: Promise<void>;
}

/** graphile-worker completes its last jobs in this time; one that has given up would take for ever. */
const RUNNER_STOP_MS_MAX = 2_000;

/** What a worker is composed of. */
export interface WorkOptions {
  readonly settings: Settings;
  readonly databaseUrl: string;
  readonly log: Log;
}

/**
 * What both ways of starting a worker share: the handler, the worker, and graphile-worker's preset around it.
 *
 * @param onFatal hears that graphile-worker gave up; the worker has begun to stop
 */
export async function composeWorker(
  options: WorkOptions,
  onFatal: (error: unknown) => void,
): Promise<{ worker: Worker; preset: GraphileConfig.Preset }> {
  const { settings, databaseUrl, log } = options;
  const handler =
    settings.handler === undefined ? createSleepHandler(settings.handlerMs) : await loadHandler(settings.handler);
  const { concurrency, leaseMs, backoffMs, shutdownMs } = settings;
  const worker = new Worker({ databaseUrl, handler, log, concurrency, leaseMs, backoffMs, shutdownMs });
  return { worker, preset: createPreset({ worker, databaseUrl, concurrency, shutdownMs, log, onFatal }) };
}

/** Starts a worker in this process. Signals are the caller's business. */
export async function startWorker(options: WorkOptions): Promise<RunningWorker> {
  const { promise: gaveUp, reject: giveUp } = Promise.withResolvers<never>();
  const { worker, preset } = await composeWorker(options, giveUp);
  await worker.start();
  const runner = await run({ preset, noHandleSignals: true, parsedCronItems: [] });
  // graphile-worker's runner resolves even when it gave up: an end that nobody asked for is a failure.
  let stopping = false;
  const onEnd = (cause?: unknown) => {
    if (!stopping) giveUp(cause);
  };
  runner.promise.then(() => onEnd(), onEnd);
  runner.events.on("pool:gracefulShutdown", ({ message }) => onEnd(new Error(message)));

  async function stop(): Promise<void> {
    stopping = true;
    worker.beginStop();
    const stopped = runner.stop().catch(() => undefined);
    await worker.drained();
    await Promise.race([stopped, sleep(RUNNER_STOP_MS_MAX)]);
    await worker.close();
  }

  const ended = gaveUp.catch(async (cause: unknown) => {
    await stop();
    const why = cause instanceof Error ? cause.message : "graphile-worker gave no reason";
    throw new InturnError("process_failed", `The worker ended without being told to: ${why}`, { cause });
  });
  ended.catch(() => undefined);
  return { stop, ended };
}
