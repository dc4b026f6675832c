/**
 * How graphile-worker runs a worker: as the dispatcher. It pulls wake-ups with FOR UPDATE SKIP LOCKED and calls the task;
 * `inturn work` and the plain `npx graphile-worker` use this same preset.
 */
import { join } from "node:path";
import { Logger, WorkerPreset } from "graphile-worker";
import type { Log } from "../log/log.ts";
import createTurnTask from "./tasks/inturn_turn.ts";
import type { Worker } from "./worker.ts";

const TASK = "inturn_turn";

/** A wake-up whose notification got lost is found by polling after this long. */
const POLL_MS = 1_000;

/** One fetch brings this many wake-ups: enough to fill a thousand places in four round trips, few enough to leave some to other workers. */
const FETCH_JOBS_MAX = 250;

/** A fetched wake-up that finds no place goes back for other workers after this long. */
const FETCHED_MS_MAX = 1_000;

/** One listens, one fetches, the others complete jobs. */
const CONNECTIONS_MAX = 6;

/**
 * Creates the preset that runs this worker.
 *
 * @param options.concurrency jobs at once; a job lasts as long as its turn
 * @param options.onFatal hears that graphile-worker gave up. It takes no more jobs then, and may never end by itself
 */
export function createPreset(options: {
  worker: Worker;
  databaseUrl: string;
  concurrency: number;
  shutdownMs: number;
  log: Log;
  onFatal: (error: unknown) => void;
}): GraphileConfig.Preset {
  const { worker, log } = options;
  return {
    extends: [WorkerPreset],
    plugins: [createPlugin(worker, log, options.onFatal)],
    worker: {
      connectionString: options.databaseUrl,
      schema: "graphile_worker",
      concurrentJobs: options.concurrency,
      maxPoolSize: CONNECTIONS_MAX,
      pollInterval: POLL_MS,
      localQueue: { size: Math.min(options.concurrency, FETCH_JOBS_MAX), ttl: FETCHED_MS_MAX },
      // Batched completions are awaited at the end; the default ones are not, and leave their jobs locked for 4 hours.
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
      gracefulShutdownAbortTimeout: options.shutdownMs,
      taskDirectory: join(import.meta.dirname, "tasks"),
      logger: createGraphileLogger(log),
    },
  };
}

/** Ties the worker's life to graphile-worker's: it starts with the pool, stops with it, and closes after its last job. */
function createPlugin(worker: Worker, log: Log, onFatal: (error: unknown) => void): GraphileConfig.Plugin {
  return {
    name: "InturnPlugin",
    version: "1.0.0",
    worker: {
      middleware: {
        init(next, { ctx }) {
          ctx.events.on("pool:fatalError", ({ error }) => onFatal(error));
          ctx.events.on("pool:create", ({ workerPool }) => {
            worker.start().catch((error: unknown) => {
              log.fatal({ err: error }, "the worker could not start; is the database migrated?");
              process.exitCode = 1;
              void workerPool.gracefulShutdown("the worker could not start");
            });
          });
          return next();
        },
        async poolGracefulShutdown(next) {
          worker.beginStop();
          try {
            return await next();
          } finally {
            await worker.close();
          }
        },
      },
      hooks: {
        loadTaskFromFiles: {
          before: ["LoadTaskFromJsPlugin"],
          callback(_ctx, event) {
            if (event.taskIdentifier === TASK) event.handler = createTurnTask(worker);
          },
        },
      },
    },
  };
}

/** graphile-worker's own log lines, a level down: its warnings advise sizes that are chosen on purpose here, its infos tell every job. */
function createGraphileLogger(log: Log): Logger {
  const levels = { error: "error", warning: "debug", info: "debug", debug: "trace" } as const;
  return new Logger(
    () => (level, message) => log[levels[level as keyof typeof levels]]({ part: "graphile-worker" }, message),
  );
}
