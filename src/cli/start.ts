import { Command } from "commander";
import { cellsOf } from "../config/cell-settings.ts";
import { readSettings, type Settings } from "../config/settings.ts";
import { initCells } from "../service/cells.ts";
import { requireHandlerOf } from "../service/compose-handler.ts";
import { type ReadyDatabase, useDatabase } from "../service/database.ts";
import { type Fleet, startFleet } from "../service/fleet.ts";
import { wholeNumberOption } from "./options.ts";
import { say } from "./output.ts";
import { listenForStop, untilAborted } from "./stop.ts";

interface StartFlags {
  readonly workers: number;
  readonly host?: string;
  readonly port?: number;
  readonly handler?: string;
  readonly push?: string;
}

/** `start`: all in one. */
export function createStartCommand(): Command {
  return new Command("start")
    .addOption(wholeNumberOption("--workers <number>", "worker processes", { least: 1, most: 64, default: 1 }))
    .option("--host <address>", "the address the API listens on (HOST, 127.0.0.1)")
    .addOption(
      wholeNumberOption("--port <number>", "its port, 0 for a free one (PORT, 8000)", { least: 0, most: 65_535 }),
    )
    .option("--handler <path>", "the handler module, or `sleep` for the built-in one (INTURN_HANDLER)")
    .option("--push <url>", "push events to this URL instead (INTURN_PUSH_URL)")
    .action(async ({ workers, push: pushUrl, ...flags }: StartFlags) => {
      const settings = readSettings(process.env, { ...flags, pushUrl });
      requireHandlerOf(settings);
      let fleet: Fleet | undefined;
      // Told twice: so are the parts.
      const stop = listenForStop(async () => await fleet?.stop());
      const database = await prepare(settings, stop);
      try {
        fleet = await startFleet({ settings, databaseUrl: database?.url, workers, say });
        say(
          `Inturn takes events at ${fleet.url}/v1/events. What becomes of them is at ${fleet.url}/ in a browser. Ctrl-C stops it.`,
        );
        try {
          await untilAborted(stop);
        } finally {
          await fleet.stop();
        }
      } finally {
        await database?.release();
      }
    });
}

/** Cells are all there when they start. */
async function prepare(settings: Settings, stop: AbortSignal): Promise<ReadyDatabase | undefined> {
  const cells = cellsOf(settings);
  if (cells === undefined) return await useDatabase({ settings, migrate: true, say, whenAway: stop });
  await initCells(cells, say);
  return undefined;
}
