import { Command, InvalidArgumentError } from "commander";
import { type LoadReport, runLoad } from "../demo/load.ts";
import { addWorkloadOptions, jsonOption, type WorkloadFlags, wholeNumberOption } from "./options.ts";
import { formatNumber, print, printFacts } from "./output.ts";
import { createProgress } from "./progress.ts";
import { listenForStop } from "./stop.ts";

interface LoadFlags extends WorkloadFlags {
  readonly url: string;
  readonly apiKey?: string;
  readonly rate?: number;
  readonly json?: boolean;
}

/** `load`: sends a seeded workload over HTTP. */
export function createLoadCommand(): Command {
  const command = new Command("load")
    .option("--url <url>", "where the API listens", parseUrl, "http://127.0.0.1:8000")
    .option("--api-key <key>", "a key with the scope ingest, where the API has keys");
  return addWorkloadOptions(command, { batch: 100 })
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

function parseUrl(text: string): string {
  if (/^https?:/.test(text) && URL.canParse(text)) return text;
  throw new InvalidArgumentError("It takes an address such as http://127.0.0.1:8000.");
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
