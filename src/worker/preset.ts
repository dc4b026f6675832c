/**
 * How graphile-worker runs a worker: as the dispatcher. It pulls wake-ups with FOR UPDATE SKIP LOCKED and calls the task;
 * `inturn work` and the plain `npx graphile-worker` use this same preset.
 */
import { join } from "node:path";
import { Logger, type Task, WorkerPreset } from "graphile-worker";
import type pg from "pg";
import { type DatabaseAddress, withSessionSettings } from "../db/session-settings.ts";
import type { Log } from "../log/log.ts";
import { DISPATCHER_CONNECTIONS_MAX } from "./pools.ts";
import createOperateTask from "./tasks/inturn_operate.ts";
import createTurnTask from "./tasks/inturn_turn.ts";
import type { Worker } from "./worker.ts";

/** What makes each task, by its name. */
const TASKS: Readonly<Record<string, (worker: Worker) => Task>> = {
  inturn_turn: createTurnTask,
  inturn_operate: createOperateTask,
};

/** A wake-up whose notification got lost is found by polling after this long. */
const POLL_MS = 1_000;

/** One fetch brings this many wake-ups: enough to fill a thousand slots in four round trips, few enough to leave some to other workers. */
const FETCH_JOBS_MAX = 250;

/** A fetched wake-up that finds no free slot goes back for other workers after this long. */
const FETCHED_MS_MAX = 1_000;

/** What graphile-worker needs to run a worker. */
export interface PresetOptions {
  readonly worker: Worker;
  readonly databaseUrl: DatabaseAddress;
  /** Jobs at once; a job lasts as long as its turn. */
  readonly concurrency: number;
  readonly shutdownMs: number;
  readonly log: Log;
}

/** Creates the preset that runs this worker. */
export function createPreset(options: PresetOptions): GraphileConfig.Preset {
  const { worker, log } = options;
  return {
    extends: [WorkerPreset],
    plugins: [createPlugin(worker)],
    worker: {
      ...dispatcherAddress(options.databaseUrl),
      schema: "graphile_worker",
      concurrentJobs: options.concurrency,
      maxPoolSize: DISPATCHER_CONNECTIONS_MAX,
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

/** For the plain tool, which opens a pool itself. Our dispatcher gives it one, and an address that is no string has no other way. */
function dispatcherAddress(address: DatabaseAddress): { connectionString?: string } {
  const { connectionString } = withSessionSettings(address);
  return connectionString === undefined ? {} : { connectionString };
}

/** Gives the tasks their worker, and tells the worker under which name its jobs are locked. */
function createPlugin(worker: Worker): GraphileConfig.Plugin {
  return {
    name: "InturnPlugin",
    version: "1.0.0",
    worker: {
      middleware: {
        init(next, { ctx }) {
          ctx.events.on("pool:create", ({ workerPool }) => (worker.graphilePool = workerPool.id));
          ctx.events.on("pool:listen:success", ({ client }) => ignoreMigrationNotices(client));
          return next();
        },
      },
      hooks: {
        loadTaskFromFiles: {
          before: ["LoadTaskFromJsPlugin"],
          callback(_ctx, event) {
            const create = TASKS[event.taskIdentifier];
            if (create !== undefined) event.handler = create(worker);
          },
        },
      },
    },
  };
}

/**
 * Any role that can connect may send the notice that ends every worker with exit code 57. A worker that meets a schema which is too new
 * notices by itself when it starts again. graphile-worker begins to listen when this event's listeners have returned.
 */
function ignoreMigrationNotices(client: pg.PoolClient): void {
  queueMicrotask(() => {
    client.query('unlisten "worker:migrate"').catch(() => undefined);
  });
}

/**
 * graphile-worker's own log lines, at the level debug: its warnings advise sizes that are chosen on purpose here, its
 * infos tell every job, its errors are a database that is away or a runner that is being replaced.
 */
function createGraphileLogger(log: Log): Logger {
  const levels = { error: "debug", warning: "debug", info: "debug", debug: "trace" } as const;
  return new Logger(
    () => (level, message) => log[levels[level as keyof typeof levels]]({ part: "graphile-worker" }, message),
  );
}
