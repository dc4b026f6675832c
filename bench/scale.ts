/**
 * `npm run bench:scale`: how far cells go, computed and not run: what one cell of this machine was measured to do (see README.md), times as
 * many cells, with accounts whose ids are hashed as ever. The same numbers come out each time.
 */
import { parseArgs } from "node:util";
import { BUCKETS, spreadBuckets } from "../src/domain/cell.ts";
import { bucketOf } from "../src/engine/bucket.ts";

const { values: flags } = parseArgs({
  options: {
    /** CPU of API, workers and PostgreSQL for an event in arrays, µs: `bench:cells -- --only cost`. */
    "event-us": { type: "string", default: "235" },
    /** The same with cells ÷ without: `bench:cells -- --only cost`. */
    factor: { type: "string", default: "1.17" },
    /** Processors of a cell, with its workers. */
    cores: { type: "string", default: "2" },
    /** Of a settled event, with its indexes: `bench:growth`. */
    "event-bytes": { type: "string", default: "190" },
    /** Events a second that a move copies: `bench:cells -- --only large`. */
    "copied-per-second": { type: "string", default: "23000" },
    accounts: { type: "string", default: "1000000" },
    /** How many events are kept. */
    events: { type: "string", default: "1000000000" },
    /** What one account does at most: its events are settled one after the other. */
    "account-per-second": { type: "string", default: "1000" },
    json: { type: "boolean", default: false },
  },
});

const CELLS = [1, 2, 3, 4, 8, 16, 32, 64];

/** With so many cells. */
interface Row {
  readonly cells: number;
  /** Events a second, when all accounts are alike, and when the nth busiest has a share like 1/n. */
  readonly alike: number;
  readonly unlike: number;
  /** The load of the busiest cell ÷ that of the average, in the same two cases. */
  readonly alikeSkew: number;
  readonly unlikeSkew: number;
  readonly gigabytesEach: number;
  readonly bucketSeconds: number;
  /** Until one more cell has its share. */
  readonly growMinutes: number;
}

const accounts = Number(flags.accounts);
const buckets = Array.from({ length: accounts }, (_, i) => bucketOf(`account-${i}`));
const alike = loadsOf(() => 1);
const unlike = loadsOf((i) => 1 / (i + 1));
const rows = CELLS.map(simulate);
const busiest = 1 / buckets.reduce((sum, _, i) => sum + 1 / (i + 1), 0);
const accountMax = Number(flags["account-per-second"]) / busiest;
print();

/** The share of each bucket in all events. */
function loadsOf(weigh: (account: number) => number): number[] {
  const loads = Array.from({ length: BUCKETS }, () => 0);
  for (const [i, bucket] of buckets.entries()) loads[bucket] = (loads[bucket] ?? 0) + weigh(i);
  const sum = loads.reduce((so, load) => so + load, 0);
  return loads.map((load) => load / sum);
}

function simulate(cells: number): Row {
  const names = Array.from({ length: cells }, (_, i) => `c${i}`);
  const map = spreadBuckets(names);
  const skewOf = (loads: readonly number[]) => {
    const byCell = new Map<string, number>();
    for (const [bucket, load] of loads.entries())
      byCell.set(map[bucket] ?? "", (byCell.get(map[bucket] ?? "") ?? 0) + load);
    return Math.max(...byCell.values()) * cells;
  };
  const eventSeconds = (Number(flags["event-us"]) / 1e6) * (cells > 1 ? Number(flags.factor) : 1);
  const all = (cells * Number(flags.cores)) / eventSeconds;
  const [alikeSkew, unlikeSkew] = [skewOf(alike), skewOf(unlike)];
  const events = Number(flags.events);
  const bucketSeconds = events / BUCKETS / Number(flags["copied-per-second"]);
  return {
    cells,
    alike: all / alikeSkew,
    unlike: all / unlikeSkew,
    alikeSkew,
    unlikeSkew,
    gigabytesEach: (events * Number(flags["event-bytes"])) / cells / 1e9,
    bucketSeconds,
    growMinutes: (Math.floor(BUCKETS / (cells + 1)) * bucketSeconds) / 60,
  };
}

function print(): void {
  if (flags.json) {
    process.stdout.write(`${JSON.stringify({ rows, busiest, accountMax })}\n`);
    return;
  }
  const round = (value: number, digits: number) => Number(value.toPrecision(digits)).toLocaleString("en");
  const heading =
    "| cells | events/s, accounts alike | busiest cell ÷ average | events/s, nth account 1/n | busiest cell ÷ average | GB of each | one more cell is filled in |";
  process.stdout.write(`${heading}\n|---:|---:|---:|---:|---:|---:|---:|\n`);
  for (const row of rows) {
    const cells = [
      String(row.cells),
      round(row.alike, 2),
      row.alikeSkew.toFixed(2),
      round(row.unlike, 2),
      row.unlikeSkew.toFixed(2),
      round(row.gigabytesEach, 2),
      `${round(row.growMinutes, 2)} min`,
    ];
    process.stdout.write(`| ${cells.join(" | ")} |\n`);
  }
  process.stdout.write(
    `\nOf all events ${(100 * busiest).toFixed(1)} % are the busiest account's: with one by one at ${flags["account-per-second"]}/s, ${round(accountMax, 2)} events/s are the end.\n`,
  );
}
