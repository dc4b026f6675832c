/** Data goes to standard output; what only a person needs goes to standard error. */

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
