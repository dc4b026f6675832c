/**
 * `npm run bench`: measures every scenario several times, each time in a new database, and prints the median rate.
 */
import { parseArgs } from "node:util";
import { SCENARIOS, type Scenario } from "./scenarios.ts";
import { type Measurement, median, openScratch } from "./support.ts";

const { values: flags } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    iterations: { type: "string", default: "3" },
    /** Of each scenario's events, in percent: a small share shows that the benchmark still works. */
    percent: { type: "string", default: "100" },
    json: { type: "boolean", default: false },
  },
});

/** What one scenario makes of another one's rate. */
const RATIOS = [
  ["ingest-1", "echo"],
  ["ingest-1-keys", "ingest-1"],
  ["ingest-500-keys", "ingest-500"],
  ["ingest-1-processes", "ingest-1"],
  ["ingest-500-processes", "ingest-500"],
  ["ingest-500", "append-sql"],
  ["drain-watched", "drain"],
  ["drain-batch", "drain"],
  ["drain-pooler", "drain"],
  ["drain", "bare-sql"],
  ["drain-batch", "bare-sql"],
  ["drain-ahead", "bare-sql"],
  ["end-to-end", "bare-sql"],
] as const;

const named = flags.only === "" ? SCENARIOS : SCENARIOS.filter(({ name }) => flags.only.split(",").includes(name));
const wanted = named.filter(({ whyNot = false }) => whyNot === false);
for (const { name, whyNot = false } of named)
  if (whyNot !== false) process.stderr.write(`skipped ${name}: ${whyNot}\n`);
const scratch = await openScratch();
try {
  const rounds: Map<string, number[]> = new Map(wanted.map(({ name }) => [name, []]));
  // Scenario after scenario, then all again: what else the machine does hits all of them alike.
  for (let i = 0; i < Number(flags.iterations); i++) {
    for (const scenario of wanted) {
      const { events, seconds } = await measure(scenario);
      process.stderr.write(`${scenario.name}: ${events} events in ${seconds.toFixed(2)} s\n`);
      rounds.get(scenario.name)?.push(events / seconds);
    }
  }
  report(rounds);
} finally {
  await scratch.release();
}

async function measure(scenario: Scenario): Promise<Measurement> {
  await scratch.recreate();
  return await scenario.measure(scratch.url, Math.max(1, Math.round((scenario.events * Number(flags.percent)) / 100)));
}

function report(rounds: Map<string, number[]>): void {
  const rows = wanted.map(({ name, what }) => {
    const rates = rounds.get(name) ?? [];
    return {
      scenario: name,
      eventsPerSecond: Math.round(median(rates)),
      runs: rates.map(Math.round).toSorted((a, b) => a - b),
      what,
    };
  });
  if (flags.json) return void process.stdout.write(`${JSON.stringify(rows)}\n`);
  const rateOf = new Map(rows.map(({ scenario, eventsPerSecond }) => [scenario, eventsPerSecond]));
  for (const row of rows) {
    process.stdout.write(
      `${row.scenario.padEnd(20)} ${String(row.eventsPerSecond).padStart(8)} events/s  ${row.what}\n`,
    );
  }
  for (const [name, of] of RATIOS) {
    const [rate, whole] = [rateOf.get(name), rateOf.get(of)];
    if (rate === undefined || whole === undefined) continue;
    process.stdout.write(`${name} / ${of}: ${(rate / whole).toFixed(2)}\n`);
  }
}
