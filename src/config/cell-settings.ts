/**
 * The settings of cells: databases that share the accounts.
 */
import * as z from "zod";
import { CELL_NAME } from "../domain/cell.ts";
import { InturnError } from "../errors/error.ts";

/** A cell, and where its PostgreSQL is. */
export interface Cell {
  readonly name: string;
  readonly url: string;
}

/** The map has 256 buckets: with more cells than this a cell's share would be too uneven. */
const CELLS_MAX = 64;

const FORM = "must be cells with their databases, like a=postgres://…,b=postgres://…";

/** A comma may stand in an address, too. */
function parseCells(text: string): Cell[] {
  return text
    .split(/,(?=[^,/?@]*=postgres)/)
    .map((cell) => cell.trim())
    .map((cell) => ({ name: cell.slice(0, Math.max(0, cell.indexOf("="))), url: cell.slice(cell.indexOf("=") + 1) }));
}

function hasTwins(values: readonly string[]): boolean {
  return new Set(values).size < values.length;
}

const cellsSchema = z
  .string()
  .refine((text) => parseCells(text).every(({ url }) => /^postgres(ql)?:\/\//.test(url)), FORM)
  .refine(
    (text) => parseCells(text).every(({ name }) => CELL_NAME.test(name)),
    "a cell's name has 1 to 31 characters: a-z first, then a-z, 0-9 and -",
  )
  .refine((text) => !hasTwins(parseCells(text).map(({ name }) => name)), "two cells have one name")
  .refine((text) => !hasTwins(parseCells(text).map(({ url }) => url)), "two cells have one database")
  .refine((text) => parseCells(text).length <= CELLS_MAX, `there may be ${CELLS_MAX} cells at most`)
  .optional();

/** Part of the table of settings (see settings.ts). */
export const CELL_SETTINGS = {
  cells: {
    variable: "INTURN_CELLS",
    schema: cellsSchema,
    description:
      "instead of `DATABASE_URL`: several databases that share the accounts, `a=postgres://…,b=postgres://…`; see cells.md",
  },
  cell: {
    variable: "INTURN_CELL",
    schema: z.string().regex(CELL_NAME, "must be the name of a cell").optional(),
    description:
      "which of these databases a command is for; without it `serve`, `work`, `start`, `cells`, `verify`, `keys`, `sources`, `target`, and verbs for more than one account, are for all, and what concerns one account finds its cell",
  },
} as const;

interface OfCells {
  readonly cells: string | undefined;
  readonly cell: string | undefined;
  readonly databaseUrl: string | undefined;
}

/**
 * All cells, when the settings are for all of them; undefined when they are for one database.
 *
 * @throws InturnError `settings_invalid` when there is another database beside the cells
 */
export function cellsOf(settings: OfCells): readonly Cell[] | undefined {
  if (settings.cells === undefined || settings.cell !== undefined) return undefined;
  if (settings.databaseUrl === undefined) return parseCells(settings.cells);
  throw new InturnError(
    "settings_invalid",
    "Of DATABASE_URL and INTURN_CELLS set one, or say which cell: INTURN_CELL.",
  );
}

/**
 * The database of the settings, which is the cell's where they name one.
 *
 * @throws InturnError `settings_invalid` when there is no such cell, or several and none is named
 */
export function databaseUrlOf(settings: OfCells): string | undefined {
  const { cell: wanted } = settings;
  const cells = settings.cells === undefined ? [] : parseCells(settings.cells);
  const names = cells.map(({ name }) => name).join(", ");
  if (wanted !== undefined) {
    const found = cells.find(({ name }) => name === wanted);
    if (found !== undefined) return found.url;
    throw new InturnError(
      "settings_invalid",
      `INTURN_CELL is ${wanted}, and INTURN_CELLS ${names === "" ? "is not set" : `has ${names}`}.`,
    );
  }
  if (cellsOf(settings) === undefined) return settings.databaseUrl;
  throw new InturnError("settings_invalid", `INTURN_CELLS has ${names}: say which one this is for with INTURN_CELL.`);
}
