/**
 * `npm run test:faults`: makes every fault, with every seed, and prints a table. Exit code 0 when nothing was found.
 */
import { Command, InvalidArgumentError } from "commander";
import { type Controlled, runControls } from "./controls.ts";
import { summarise, toMarkdown, toTable } from "./report.ts";
import type { Scenario } from "./scenario.ts";
import { SCENARIOS } from "./scenarios/index.ts";
import { runSuite } from "./suite.ts";
import type { Trial } from "./trial.ts";

interface Flags {
  readonly seeds: number;
  readonly seed: number;
  readonly only?: readonly string[];
  readonly parallel: number;
  readonly json?: boolean;
  readonly list?: boolean;
  readonly full?: boolean;
  readonly ahead?: number;
  readonly controls?: boolean;
}

/** Problems told of one run; the first ones tell enough. */
const PROBLEMS_MAX = 12;

const program = new Command("test:faults")
  .description("make every fault there is, and check that nothing is lost, doubled or out of order")
  .option("--seeds <number>", "how many seeds, counted up from the first", toNumber, 3)
  .option("--seed <number>", "the first seed", toNumber, 1)
  .option("--only <names>", "only these, by name or number, separated by commas", (names: string) => names.split(","))
  .option("--parallel <number>", "runs at a time, each with a PostgreSQL of its own", toNumber, 2)
  .option("--full", "outages and locks of up to a minute")
  .option("--ahead <number>", "turns go ahead of their settles: INTURN_UNSETTLED_MAX of the workers", toNumber)
  .option("--controls", "break the program on purpose instead: every mutant must be caught")
  .option("--json", "print JSON instead of a table")
  .option("--list", "list the faults and end")
  .action(main);

// Told once, it ends after the runs under way and prints what it has; told twice, at once.
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.on(signal, () => (stop.signal.aborted ? process.exit(1) : stop.abort()));
await program.parseAsync();
process.exit();

async function main(flags: Flags): Promise<void> {
  const scenarios = choose(flags.only);
  if (flags.controls === true) return await control(scenarios);
  if (flags.list === true) {
    for (const { fault, name, promise } of scenarios)
      process.stdout.write(`${String(fault).padStart(2)}  ${name.padEnd(24)} ${promise}\n`);
    return;
  }
  const seeds = Array.from({ length: flags.seeds }, (_, i) => flags.seed + i);
  say(`${scenarios.length} faults, seeds ${seeds[0]} to ${seeds.at(-1)}, ${flags.parallel} at a time`);
  const trials = await runSuite({
    scenarios,
    seeds,
    parallel: flags.parallel,
    isFull: flags.full === true,
    ...(flags.ahead !== undefined && { unsettledMax: flags.ahead }),
    signal: stop.signal,
    onSkip: (scenario, why) => say(`skipped ${scenario.name}: ${why}`),
    onTrial: (trial) => say(tell(trial)),
  });
  const rows = summarise(trials);
  process.stdout.write(flags.json === true ? `${JSON.stringify({ rows }, undefined, 2)}\n` : `${toMarkdown(rows)}\n`);
  if (stop.signal.aborted) say(`stopped early, after ${trials.length} runs`);
  process.exitCode = stop.signal.aborted || trials.some((trial) => trial.isRed) ? 1 : 0;
}

async function control(scenarios: readonly Scenario[]): Promise<void> {
  const results = await runControls(scenarios, (result) => say(`${result.name}: ${verdictOf(result)}`));
  const lines = results.map((result) => [result.name, result.scenario, String(result.runs), verdictOf(result)]);
  process.stdout.write(`${toTable(["broken on purpose", "fault", "runs", "the checker"], lines)}\n`);
  process.exitCode = results.some(({ caught, skipped }) => caught === undefined && skipped === undefined) ? 1 : 0;
}

function verdictOf({ caught, skipped }: Controlled): string {
  if (skipped !== undefined) return `skipped: ${skipped}`;
  if (caught === undefined) return "NOT CAUGHT";
  const { lost, doubled, reordered, overlapping, gaps, staleCommits, stuck } = caught;
  const counts = { lost, doubled, reordered, overlapping, gaps, "stale commits": staleCommits, stuck };
  const found = Object.entries(counts).filter(([, count]) => count > 0);
  return found.length === 0
    ? "red: the server did not come up again"
    : `red: ${found.map(([what, count]) => `${count} ${what}`).join(", ")}`;
}

function choose(only: readonly string[] | undefined): readonly Scenario[] {
  if (only === undefined) return SCENARIOS;
  const chosen = SCENARIOS.filter(({ name, fault }) => only.includes(name) || only.includes(String(fault)));
  if (chosen.length === 0)
    throw new InvalidArgumentError(`--only names none of ${SCENARIOS.map(({ name }) => name).join(", ")}`);
  return chosen;
}

function tell(trial: Trial): string {
  const { scenario, seed, seconds, isRed, recoverySeconds, redelivered, zombieOverlaps, ledger, problems } = trial;
  const recovered = recoverySeconds === undefined ? "" : `, recovered in ${recoverySeconds.toFixed(1)} s`;
  const counts = `${ledger.acknowledged} acknowledged, ${ledger.refused} refused, ${ledger.unknown} unknown, ${redelivered} redelivered, ${zombieOverlaps} zombie overlaps`;
  const head = `${isRed ? "RED" : "ok "} ${scenario.name} (${scenario.fault}) seed ${seed}: ${seconds.toFixed(1)} s, ${counts}${recovered}`;
  return [head, ...shorten(problems).map((problem) => `      ${problem}`)].join("\n");
}

/** The first problems, and the logs. */
function shorten(problems: readonly string[]): readonly string[] {
  const isLog = (problem: string) => problem.startsWith("log of ");
  const told = problems.filter((problem) => !isLog(problem));
  const more = told.length > PROBLEMS_MAX ? [`… and ${told.length - PROBLEMS_MAX} more`] : [];
  return [...told.slice(0, PROBLEMS_MAX), ...more, ...problems.filter(isLog)];
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function toNumber(text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It takes a whole number.");
}
