/**
 * Keeps graphile-worker going. Its runner ends, or stays behind half-dead, when the database fails it at the wrong moment;
 * what the worker has in hand does not depend on it, so another runner replaces it.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Runner, run } from "graphile-worker";
import { InturnError } from "../errors/error.ts";
import { openDispatcherPool } from "./dispatcher-pool.ts";
import { createPreset, type PresetOptions } from "./preset.ts";

/** A dispatcher at work. */
export interface Dispatcher {
  /** Takes no more wake-ups, and waits for the turns that are under way. */
  stop(): Promise<void>;
  /** Resolves, with the reason, when it cannot go on and no other try would help. */
  readonly failed: Promise<InturnError>;
}

/** Between the end of one runner and the start of the next: at first, and at most. */
const RESTART_MS = { first: 100, most: 2_000 };

/** A runner that lived this long has been well: the next wait is the first one again. */
const WELL_MS = 10_000;

/** A runner completes its last jobs in this time; one that has given up would take for ever. */
const STOP_MS_MAX = 2_000;

/** Starts dispatching: resolves at once, and goes on until it is stopped, whatever the database does. */
export function startDispatcher(options: PresetOptions): Dispatcher {
  const stopping = new AbortController();
  const { promise: failed, resolve: fail } = Promise.withResolvers<InturnError>();
  let current: Running | undefined;
  // One that fetches nothing is replaced at once: it ends while its successor already works.
  const ending = new Set<Promise<void>>();
  options.worker.recovery.onUnfetched = () => current?.replace();
  const running = keepRunning();
  return {
    failed,
    async stop() {
      stopping.abort();
      await current?.end();
      await running;
      await Promise.all(ending);
    },
  };

  async function keepRunning(): Promise<void> {
    let waitMs = RESTART_MS.first;
    while (!stopping.signal.aborted) {
      const startedMs = performance.now();
      try {
        current = await startRunner(options);
        if (stopping.signal.aborted) return await current.end();
        const cause = await current.gaveUp;
        if (stopping.signal.aborted) return;
        if (cause === UNFETCHED) {
          options.log.warn("wake-ups wait and graphile-worker fetches none; starting it again");
          const end = current.end().finally(() => ending.delete(end));
          ending.add(end);
          continue;
        }
        options.log.warn({ err: cause }, "graphile-worker gave up; starting it again");
        await current.end();
      } catch (error) {
        if (isTooNew(error)) return fail(error);
        options.log.warn({ err: error }, "graphile-worker cannot start; trying again");
      }
      if (performance.now() - startedMs > WELL_MS) waitMs = RESTART_MS.first;
      await sleep(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      waitMs = Math.min(2 * waitMs, RESTART_MS.most);
    }
  }
}

/** Why a runner is replaced that has not given up: somebody emptied its tables, say, and it looks for a task that is not there. */
const UNFETCHED = Symbol("unfetched");

interface Running {
  /** Resolves, with the reason if there is one, when the runner takes no more jobs. */
  readonly gaveUp: Promise<unknown>;
  /** Has it given up at once. */
  replace(): void;
  /** Lets it complete its jobs, for as long as that makes sense, and closes its connections. */
  end(): Promise<void>;
}

async function startRunner(options: PresetOptions): Promise<Running> {
  const { pool, destroy } = openDispatcherPool(options.databaseUrl, options.log);
  const { promise: gaveUp, resolve: giveUp } = Promise.withResolvers<unknown>();
  try {
    const runner = await run({
      preset: createPreset(options),
      pgPool: pool,
      noHandleSignals: true,
      parsedCronItems: [],
    });
    // graphile-worker's runner resolves even when it gave up: an end that was not asked for is a failure.
    runner.promise.then(giveUp, giveUp);
    runner.events.on("pool:fatalError", ({ error }) => giveUp(error));
    runner.events.on("pool:gracefulShutdown", ({ message }) => giveUp(new Error(message)));
    const jobsOf = options.worker.graphilePool;
    const end = async () => {
      await endRunner(runner, options);
      destroy();
      if (jobsOf !== null) options.worker.recovery.freeJobsOf(jobsOf);
    };
    return { gaveUp, end, replace: () => giveUp(UNFETCHED) };
  } catch (error) {
    destroy();
    throw explain(error);
  }
}

/** graphile-worker sets this exit code when its schema is newer than it can work with, and gives its error no code. */
const EXIT_TOO_NEW = 57;

/** What graphile-worker said, and the exit code that it has set taken back: that is for us to choose. */
function explain(error: unknown): unknown {
  if (process.exitCode !== EXIT_TOO_NEW) return error;
  process.exitCode = undefined;
  const said = error instanceof Error ? error.message : String(error);
  return new InturnError("database_too_new", `This version cannot work with the database: ${said}`, { cause: error });
}

function isTooNew(error: unknown): error is InturnError {
  return error instanceof InturnError && error.code === "database_too_new";
}

async function endRunner(runner: Runner, { worker }: Pick<PresetOptions, "worker">): Promise<void> {
  const stopped = runner.stop().catch(() => runner.promise.catch(() => undefined));
  // The turns are the worker's: told to stop they end in their own time, and then their jobs are completed.
  if (worker.isStopping) await worker.drained();
  await Promise.race([stopped, sleep(STOP_MS_MAX)]);
}
