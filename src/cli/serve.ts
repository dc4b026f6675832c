import { Command } from "commander";
import { readSettings } from "../config/settings.ts";
import { createLog } from "../log/log.ts";
import { startApi } from "../service/api.ts";
import { useDatabase } from "../service/database.ts";
import type { ReadyMessage } from "../service/fleet.ts";
import { wholeNumberOption } from "./options.ts";
import { say } from "./output.ts";
import { listenForStop, untilAborted } from "./stop.ts";

/** `serve`: the HTTP API. */
export function createServeCommand(): Command {
  return new Command("serve")
    .description("run the HTTP API")
    .option("--host <address>", "the address to listen on (HOST, 127.0.0.1)")
    .addOption(
      wholeNumberOption("--port <number>", "the port, 0 for a free one (PORT, 8000)", { least: 0, most: 65_535 }),
    )
    .action(async (flags: { host?: string; port?: number }) => {
      const settings = readSettings(process.env, flags);
      const stop = listenForStop();
      const log = createLog({ level: settings.logLevel, name: "serve" });
      const database = await useDatabase({ settings, migrate: false, say, whenAway: "go on" });
      try {
        const api = await startApi({ settings, databaseUrl: database.url, log });
        process.send?.({ ready: true, url: api.url } satisfies ReadyMessage);
        await untilAborted(stop);
        await api.close();
      } finally {
        await database.release();
      }
    });
}
