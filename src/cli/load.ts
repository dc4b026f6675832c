import { Command } from "commander";
import { APPEND_EVENTS_MAX } from "../domain/event.ts";
import { type LoadReport, runLoad } from "../service/load.ts";
import { jsonOption, wholeNumberOption } from "./options.ts";
import { createProgress, formatNumber, print, printFacts } from "./output.ts";
import { listenForStop } from "./stop.ts";

interface LoadFlags {
  readonly url: string;
  readonly events: number;
  readonly accounts: number;
  readonly seed: number;
  readonly connections: number;
  readonly batch: number;
  readonly rate?: number;
  readonly json?: boolean;
}

/** `load`: sends a seeded workload over HTTP. */
export function createLoadCommand(): Command {
  return new Command("load")
    .description("send events of random accounts to a running API; each carries its number within its account")
    .option("--url <url>", "where the API listens", "http://127.0.0.1:8000")
    .addOption(
      wholeNumberOption("--events <number>", "how many events", { least: 1, most: 10_000_000, default: 10_000 }),
    )
    .addOption(
      wholeNumberOption("--accounts <number>", "over how many accounts", { least: 1, most: 1_000_000, default: 1_000 }),
    )
    .addOption(
      wholeNumberOption("--seed <number>", "of the random choice of accounts", {
        least: 0,
        most: 2 ** 31 - 1,
        default: 42,
      }),
    )
    .addOption(wholeNumberOption("--connections <number>", "HTTP connections", { least: 1, most: 500, default: 4 }))
    .addOption(
      wholeNumberOption("--batch <events>", "events per request; 1 sends single events", {
        least: 1,
        most: APPEND_EVENTS_MAX,
        default: 100,
      }),
    )
    .addOption(wholeNumberOption("--rate <events>", "events per second at most", { least: 1, most: 1_000_000 }))
    .addOption(jsonOption())
    .action(async (flags: LoadFlags) => {
      const progress = createProgress("sent");
      const { json, ...options } = flags;
      const report = await runLoad({
        ...options,
        signal: listenForStop(),
        onProgress: (sent) => progress.update(sent, flags.events),
      }).finally(() => progress.stop());
      if (json === true) print(JSON.stringify(report));
      else printReport(report);
    });
}

function printReport(report: LoadReport): void {
  printFacts([
    ["events sent", formatNumber(report.events)],
    ["events per second", formatNumber(report.eventsPerSecond)],
    ["requests", `${formatNumber(report.requests)}, ${formatNumber(report.retries)} of them repeated`],
    [
      "already stored",
      report.duplicates === 0
        ? "none"
        : `${formatNumber(report.duplicates)} (this seed was sent before; --seed sends another load)`,
    ],
  ]);
}
