import { Command } from "commander";
import { readSettings, type Settings } from "../config/settings.ts";
import { type DemoReport, runDemo } from "../demo/demo.ts";
import { type DemoCells, useDemoCells, useDemoDatabase } from "../demo/demo-database.ts";
import { addWorkloadOptions, jsonOption, type WorkloadFlags, wholeNumberOption } from "./options.ts";
import { formatNumber, print, printFacts, say } from "./output.ts";
import { createProgress } from "./progress.ts";
import { listenForStop } from "./stop.ts";

interface DemoFlags extends WorkloadFlags {
  readonly handlerMs: number;
  readonly workers: number;
  readonly cells: number;
  readonly concurrency?: number;
  readonly killEveryMs?: number;
  readonly json?: boolean;
}

/** `demo`: the whole system in one command. */
export function createDemoCommand(): Command {
  const command = new Command("demo");
  return addWorkloadOptions(command, { batch: 500 })
    .addOption(
      wholeNumberOption("--handler-ms <ms>", "how long the handler of one event takes", {
        least: 0,
        most: 60_000,
        default: 1_000,
      }),
    )
    .addOption(
      wholeNumberOption("--workers <number>", "worker processes, of each cell", { least: 1, most: 64, default: 2 }),
    )
    .addOption(
      wholeNumberOption("--cells <number>", "databases that share the accounts", { least: 1, most: 8, default: 1 }),
    )
    .addOption(
      wholeNumberOption("--concurrency <accounts>", "accounts in hand at once per worker (INTURN_CONCURRENCY, 1000)", {
        least: 1,
        most: 10_000,
      }),
    )
    .addOption(
      wholeNumberOption("--kill-every-ms <ms>", "kill a worker this often (kill -9), one after the other", {
        least: 100,
        most: 3_600_000,
      }),
    )
    .addOption(jsonOption())
    .action(demo);
}

async function demo(flags: DemoFlags): Promise<void> {
  const { json, handlerMs, concurrency, cells, ...workload } = flags;
  // The demo's own numbers tell how it went; its parts speak up only when something is wrong.
  const environment = { LOG_LEVEL: "warn", ...process.env };
  const settings = readSettings(environment, { handlerMs, concurrency, handler: "sleep" });
  const signal = listenForStop();
  const on = cells > 1 ? await useDemoCells({ settings, cells, say }) : await useOneDatabase(settings);
  const progress = createProgress("settled");
  try {
    const report = await runDemo({
      ...workload,
      settings: on.settings,
      databaseUrls: on.urls,
      postgres: on.postgres,
      signal,
      onPhase: (phase) => {
        if (phase === "stopping") progress.stop();
        else say(phase);
      },
      onProgress: ({ received, settled }) =>
        progress.update(settled, flags.events, `${formatNumber(received)} received`),
    });
    if (json === true) print(JSON.stringify(report));
    else printReport(report, handlerMs);
    if (!isGood(report)) process.exitCode = 1;
  } finally {
    progress.stop();
    await on.release();
  }
}

async function useOneDatabase(settings: Settings): Promise<DemoCells> {
  const database = await useDemoDatabase({ settings, say });
  return { settings, urls: [database.url], postgres: database.postgres, release: () => database.release() };
}

function isGood(report: DemoReport): boolean {
  return (
    report.processed === report.events &&
    report.lost + report.duplicates + report.orderViolations + report.overlaps === 0
  );
}

function printReport(report: DemoReport, handlerMs: number): void {
  const seconds = (value: number) => `${value.toFixed(2)} s`;
  const none = (count: number) => (count === 0 ? "none" : `${formatNumber(count)} ✗`);
  print(
    isGood(report)
      ? `\n${formatNumber(report.events)} events of ${formatNumber(report.accounts)} accounts, every account in order.`
      : "\nThe promise was broken.",
  );
  printFacts([
    ...(handlerMs === 0
      ? []
      : [["the floor", `${seconds(report.idealSeconds)} (the longest account, ${handlerMs} ms an event)`] as const]),
    ["we took", seconds(report.makespanSeconds)],
    handlerMs === 0
      ? ["events per second", formatNumber(report.events / report.makespanSeconds)]
      : ["efficiency", `${(report.efficiency * 100).toFixed(1)} %`],
    ["taken over HTTP", `${formatNumber(report.ingestEventsPerSecond)} events/s`],
    ...(report.kills === undefined ? [] : [["workers killed", formatNumber(report.kills)] as const]),
    ["processed", formatNumber(report.processed)],
    ["lost", none(report.lost)],
    ["handled twice", none(report.duplicates)],
    ["out of order", none(report.orderViolations)],
    ["overlapping", none(report.overlaps)],
  ]);
  print(
    "\nLook closer: npm start, then http://127.0.0.1:8000/lanes?lanes=1000&seconds=0 shows the whole run; or npm run verify.",
  );
}
