import { createInterface } from "node:readline/promises";
import type { Database } from "../db/pool.ts";
import { textOf } from "../errors/text.ts";
import { oneLine, print, printTable, say } from "./output.ts";

/** Rows that an answer shows. */
const ROWS_MAX = 200;

/** A small prompt for SQL, for machines without psql: a statement a line, until the input ends. */
export async function promptForSql(database: Database): Promise<void> {
  say("There is no psql here. One statement a line; Ctrl-D ends it.");
  const input = createInterface({ input: process.stdin, output: process.stderr, prompt: "inturn> " });
  input.prompt();
  for await (const line of input) {
    if (line.trim() !== "") await runSql(database, line).catch((error: unknown) => say(textOf(error)));
    input.prompt();
  }
}

/** Runs one statement and prints its rows. */
export async function runSql(database: Database, text: string): Promise<void> {
  const { rows, fields, command, rowCount } = await database.query<Record<string, unknown>>(text);
  if (fields.length === 0) return print(`${command} ${rowCount ?? ""}`.trim());
  const shown = rows.slice(0, ROWS_MAX).map((row) => fields.map(({ name }) => oneLine(format(row[name]))));
  printTable(
    fields.map(({ name }) => name),
    shown,
  );
  if (rows.length > ROWS_MAX) say(`${rows.length - ROWS_MAX} more rows are not shown`);
}

function format(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (value instanceof Date) return value.toISOString();
  return typeof value === "string" ? value : JSON.stringify(value);
}
