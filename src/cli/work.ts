import { Command } from "commander";
import { cellsOf } from "../config/cell-settings.ts";
import { readSettings } from "../config/settings.ts";
import { createLog } from "../log/log.ts";
import { useDatabase } from "../service/database.ts";
import type { ReadyMessage } from "../service/part.ts";
import { type RunningWorker, startWorker } from "../service/work.ts";
import { startWorkerOfCells } from "../service/work-cells.ts";
import { flushSpans } from "../trace/tracer.ts";
import { wholeNumberOption } from "./options.ts";
import { say } from "./output.ts";
import { listenForStop, unlessStopped, untilAborted } from "./stop.ts";

/** Exit code of a worker that ended without having been told to. */
const EXIT_UNASKED = 1;

interface WorkFlags {
  readonly concurrency?: number;
  readonly handler?: string;
  readonly handlerMs?: number;
  readonly push?: string;
}

/** `work`: a worker process. */
export function createWorkCommand(): Command {
  return new Command("work")
    .addOption(
      wholeNumberOption("--concurrency <accounts>", "accounts in hand at once (INTURN_CONCURRENCY, 1000)", {
        least: 1,
        most: 10_000,
      }),
    )
    .option("--handler <path>", "the handler module, or `sleep` for the built-in one (INTURN_HANDLER)")
    .option("--push <url>", "push events to this URL instead (INTURN_PUSH_URL)")
    .addOption(
      wholeNumberOption("--handler-ms <ms>", "how long the built-in handler sleeps (INTURN_HANDLER_MS, 1000)", {
        least: 0,
        most: 3_600_000,
      }),
    )
    .action(async ({ push: pushUrl, ...flags }: WorkFlags) => {
      const settings = readSettings(process.env, { ...flags, pushUrl });
      let worker: Omit<RunningWorker, "exposeMetrics"> | undefined;
      const stop = listenForStop(async () => {
        await worker?.forceStop();
        await worker?.stop();
      });
      // Only a worker that was told to stop has ended well, not one whose handler called process.exit(0).
      process.on("exit", () => {
        if (!stop.aborted) process.exitCode = EXIT_UNASKED;
      });
      const log = createLog({ level: settings.logLevel, name: "work" });
      const cells = cellsOf(settings);
      const database =
        cells === undefined
          ? await unlessStopped(stop, useDatabase({ settings, migrate: false, say, whenAway: stop }))
          : undefined;
      try {
        const parts = { settings, log, signal: stop };
        if (cells !== undefined) worker = await unlessStopped(stop, startWorkerOfCells({ ...parts, cells }));
        else if (database !== undefined) {
          const { url: databaseUrl, poolerUrl } = database;
          worker = await unlessStopped(stop, startWorker({ ...parts, databaseUrl, poolerUrl }));
        }
        if (worker === undefined) return;
        process.send?.({ ready: true, url: worker.metricsUrl } satisfies ReadyMessage);
        const failed = await Promise.race([untilAborted(stop), worker.failed]);
        await worker.stop();
        if (failed !== undefined) throw failed;
      } finally {
        await database?.release();
        await flushSpans();
      }
    });
}
