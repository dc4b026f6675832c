import { Command } from "commander";
import { readSettings } from "../config/settings.ts";
import { pruneAll } from "../engine/prune.ts";
import { withConnection } from "../service/connection.ts";
import { jsonOption, wholeNumberOption } from "./options.ts";
import { formatNumber, print, say } from "./output.ts";

/** `prune`: deletes what was settled long ago. */
export function createPruneCommand(): Command {
  return new Command("prune")
    .addOption(
      wholeNumberOption("--keep-days <days>", "keep what was settled in the last days", {
        least: 1,
        most: 36_500,
      }).makeOptionMandatory(),
    )
    .addOption(jsonOption())
    .action(async (flags: { keepDays: number; json?: boolean }) => {
      const settings = readSettings(process.env);
      const events = await withConnection({ settings, name: "inturn prune", say }, (database) =>
        pruneAll(database, { keepDays: flags.keepDays, onProgress: createTicker() }),
      );
      print(flags.json === true ? JSON.stringify({ events }) : `${formatNumber(events)} events are no longer kept.`);
    });
}

/** The total is not known: a line now and then says how far it is. */
const LINE_INTERVAL_MS = 5_000;

function createTicker(): (events: number) => void {
  let lastMs = performance.now();
  return (events) => {
    if (performance.now() - lastMs < LINE_INTERVAL_MS) return;
    lastMs = performance.now();
    say(`pruned ${formatNumber(events)} events so far`);
  };
}
