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

/** What both ways of starting a worker share: the handler, the worker, and graphile-worker's preset around it. */
export async function composeWorker(options: {
  settings: Settings;
  databaseUrl: string;
  log: Log;
}): Promise<{ worker: Worker; preset: GraphileConfig.Preset }> {
  const { settings, databaseUrl, log } = options;
  const handler =
    settings.handler === undefined ? createSleepHandler(settings.handlerMs) : await loadHandler(settings.handler);
  const { concurrency, leaseMs, backoffMs, shutdownMs } = settings;
  const worker = new Worker({ databaseUrl, handler, log, concurrency, leaseMs, backoffMs, shutdownMs });
  return { worker, preset: createPreset({ worker, databaseUrl, concurrency, shutdownMs, log }) };
}

/** Starts a worker in this process. Signals are the caller's business. */
export async function startWorker(options: {
  settings: Settings;
  databaseUrl: string;
  log: Log;
}): Promise<RunningWorker> {
  const { worker, preset } = await composeWorker(options);
  await worker.start();
  const runner = await run({ preset, noHandleSignals: true, parsedCronItems: [] });
  let stopping = false;
  return {
    async stop() {
      stopping = true;
      await runner.stop();
    },
    // graphile-worker's runner resolves even when it gave up: an end that nobody asked for is a failure.
    ended: runner.promise.then(
      () => endedUnasked(undefined),
      (error: unknown) => endedUnasked(error),
    ),
  };

  function endedUnasked(cause: unknown): void {
    if (stopping) return;
    throw new InturnError(
      "process_failed",
      `The worker ended without being told to: ${cause instanceof Error ? cause.message : "graphile-worker gave no reason"}`,
      { cause },
    );
  }
}
