/**
 * The worker under the plain tool, `npx graphile-worker`: there graphile-worker owns the process, and the worker's life
 * follows that of its pool.
 */
import { startDispatcher } from "./dispatcher.ts";
import { createPreset, type PresetOptions } from "./preset.ts";

/** Creates the preset for the plain tool. */
export function createStandalonePreset(options: PresetOptions): GraphileConfig.Preset {
  return { extends: [createPreset(options)], plugins: [createLifePlugin(options)] };
}

/**
 * The worker starts with the pool, stops with it, and closes after its last turn. A pool that ends without having been
 * told to has given up: the worker stays, and a dispatcher of our own replaces the pool until a signal comes.
 */
function createLifePlugin(options: PresetOptions): GraphileConfig.Plugin {
  const { worker, log } = options;
  let isTold = false;
  return {
    name: "InturnLifePlugin",
    version: "1.0.0",
    worker: {
      middleware: {
        init(next, { ctx }) {
          ctx.events.on("gracefulShutdown", () => (isTold = true));
          ctx.events.on("pool:create", ({ workerPool }) => {
            worker.recovery.onUnfetched = () => void workerPool.gracefulShutdown("it fetches no wake-ups");
            worker.start().catch((error: unknown) => {
              log.fatal({ err: error }, "the worker could not start; is the database migrated?");
              process.exitCode = 1;
              isTold = true;
              void workerPool.gracefulShutdown("the worker could not start");
            });
          });
          return next();
        },
        async poolGracefulShutdown(next, { message }) {
          if (!isTold) {
            log.warn({ cause: message }, "graphile-worker gave up; starting it again");
            void Promise.resolve(next()).catch(() => undefined);
            return await goOnWithout(options);
          }
          worker.beginStop();
          try {
            return await next();
          } finally {
            await worker.drained();
            await worker.close();
          }
        },
      },
    },
  };
}

/** From here on the process is ours, and so are its signals: graphile-worker would end it before the worker has signed off. */
async function goOnWithout(options: PresetOptions): Promise<never> {
  const { worker } = options;
  const { promise: told, resolve: tell } = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.removeAllListeners(signal).on(signal, () => tell());
  const dispatcher = startDispatcher(options);
  await told;
  worker.beginStop();
  await dispatcher.stop();
  await worker.close();
  process.exit(0);
}
