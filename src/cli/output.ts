/** Data goes to standard output; what only a person needs goes to standard error. */
import { SingleBar } from "cli-progress";

/** Prints data. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Tells a person something. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Prints one line of `name: value` pairs, the names padded to one width. */
export function printFacts(facts: readonly (readonly [name: string, value: string])[]): void {
  const width = Math.max(...facts.map(([name]) => name.length));
  for (const [name, value] of facts) print(`  ${name.padEnd(width)}  ${value}`);
}

/** Prints rows under a heading, each column as wide as it needs to be. */
export function printTable(heading: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = heading.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]?.length ?? 0)));
  for (const row of [heading, ...rows]) {
    print(
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    );
  }
}

/** Characters of a stranger's text in a row. */
const SHOWN_LENGTH_MAX = 80;

/** A stranger's text in one line, without what a terminal would obey. */
export function oneLine(text: string): string {
  return text.slice(0, SHOWN_LENGTH_MAX).replaceAll(/[\s\p{C}]+/gu, " ");
}

/** A number with thousands separated. */
export function formatNumber(value: number): string {
  return Math.round(value).toLocaleString("en");
}

/** Progress of something with a known end: a bar on a terminal, a line now and then elsewhere. */
export interface ProgressDisplay {
  update(done: number, total: number, note?: string): void;
  stop(): void;
}

/** Where there is no terminal, a line at most this often. */
const LINE_INTERVAL_MS = 5_000;

/** Creates a display on standard error. */
export function createProgress(label: string): ProgressDisplay {
  return process.stderr.isTTY === true ? createBar(label) : createLines(label);
}

function createBar(label: string): ProgressDisplay {
  const bar = new SingleBar({
    format: `${label} {bar} {percentage}% · {value}/{total} · {note}`,
    stream: process.stderr,
    hideCursor: true,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    etaBuffer: 100,
  });
  let started = false;
  return {
    update(done, total, note = "") {
      if (!started) bar.start(total, done, { note });
      started = true;
      bar.update(done, { note });
    },
    stop: () => bar.stop(),
  };
}

function createLines(label: string): ProgressDisplay {
  let lastMs = Number.NEGATIVE_INFINITY;
  return {
    update(done, total, note = "") {
      const nowMs = performance.now();
      if (done < total && nowMs - lastMs < LINE_INTERVAL_MS) return;
      lastMs = nowMs;
      say(`${label}: ${formatNumber(done)} of ${formatNumber(total)}${note === "" ? "" : `, ${note}`}`);
    },
    stop: () => undefined,
  };
}
