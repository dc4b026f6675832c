import type { Trial } from "./trial.ts";

/** One row of the table: all runs of one fault. */
export interface Row {
  readonly fault: number;
  readonly name: string;
  readonly runs: number;
  readonly red: number;
  readonly recoveryMedianSeconds: number | null;
  readonly recoveryWorstSeconds: number | null;
  readonly lost: number;
  readonly doubled: number;
  readonly reordered: number;
  readonly overlapping: number;
  readonly gaps: number;
  readonly staleCommits: number;
  readonly stuck: number;
  readonly redelivered: number;
  readonly zombieOverlaps: number;
  /** What the clients were told, over all runs. */
  readonly acknowledged: number;
  readonly unknown: number;
}

/** Sums the runs up, one row for each scenario, in the order of the faults. */
export function summarise(trials: readonly Trial[]): Row[] {
  const rows = [...Map.groupBy(trials, (trial) => trial.scenario.name).values()].map(toRow);
  return rows.toSorted((a, b) => a.fault - b.fault || a.name.localeCompare(b.name));
}

function toRow(trials: readonly Trial[]): Row {
  const sum = (read: (trial: Trial) => number) => trials.reduce((total, trial) => total + read(trial), 0);
  const seconds = trials.flatMap((trial) => trial.recoverySeconds ?? []).toSorted((a, b) => a - b);
  return {
    fault: trials[0]?.scenario.fault ?? 0,
    name: trials[0]?.scenario.name ?? "",
    runs: trials.length,
    red: sum((trial) => Number(trial.isRed)),
    recoveryMedianSeconds: seconds[Math.floor(seconds.length / 2)] ?? null,
    recoveryWorstSeconds: seconds.at(-1) ?? null,
    lost: sum((trial) => trial.lost),
    doubled: sum((trial) => trial.doubled),
    reordered: sum((trial) => trial.reordered),
    overlapping: sum((trial) => trial.overlapping),
    gaps: sum((trial) => trial.gaps),
    staleCommits: sum((trial) => trial.staleCommits),
    stuck: sum((trial) => trial.stuck),
    redelivered: sum((trial) => trial.redelivered),
    zombieOverlaps: sum((trial) => trial.zombieOverlaps),
    acknowledged: sum((trial) => trial.ledger.acknowledged),
    unknown: sum((trial) => trial.ledger.unknown),
  };
}

const COLUMNS: readonly (readonly [string, (row: Row) => string | number])[] = [
  ["#", (row) => row.fault],
  ["fault", (row) => row.name],
  ["runs", (row) => row.runs],
  ["red", (row) => row.red],
  ["events", (row) => row.acknowledged],
  ["recovery s, median", (row) => row.recoveryMedianSeconds?.toFixed(1) ?? "–"],
  ["worst", (row) => row.recoveryWorstSeconds?.toFixed(1) ?? "–"],
  ["lost", (row) => row.lost],
  ["doubled", (row) => row.doubled],
  ["reordered", (row) => row.reordered],
  ["overlapping", (row) => row.overlapping],
  ["gaps", (row) => row.gaps],
  ["stale commits", (row) => row.staleCommits],
  ["stuck", (row) => row.stuck],
  ["redelivered", (row) => row.redelivered],
  ["zombie overlaps", (row) => row.zombieOverlaps],
];

/** The rows as a Markdown table. */
export function toMarkdown(rows: readonly Row[]): string {
  return toTable(
    COLUMNS.map(([title]) => title),
    rows.map((row) => COLUMNS.map(([, read]) => String(read(row)))),
  );
}

/** A Markdown table. */
export function toTable(titles: readonly string[], lines: readonly (readonly string[])[]): string {
  const toLine = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [toLine(titles), toLine(titles.map(() => "---")), ...lines.map(toLine)].join("\n");
}
