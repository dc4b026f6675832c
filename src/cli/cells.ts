import { Command } from "commander";
import { type Cell, cellsOf } from "../config/cell-settings.ts";
import { readSettings } from "../config/settings.ts";
import { InturnError } from "../errors/error.ts";
import { type CellStatus, initCells, listCells } from "../service/cells.ts";
import { jsonOption } from "./options.ts";
import { formatNumber, print, printTable, say } from "./output.ts";

/** `cells`: the databases that share the accounts. */
export function createCellsCommand(): Command {
  return new Command("cells")
    .addCommand(
      new Command("init")
        .description("migrate each database of INTURN_CELLS, and spread the accounts over them; can be repeated")
        .addOption(jsonOption())
        .action(async ({ json = false }: { json?: boolean }) => {
          const cells = requireCells();
          const made = await initCells(cells, say);
          if (json) return print(JSON.stringify({ cells: cells.length, made }));
          print(made === 0 ? "All of them were cells already." : `${made} of ${cells.length} were made cells.`);
        }),
    )
    .addCommand(
      new Command("list")
        .description("list the cells, and how each is; exit 1 if one is not ready")
        .addOption(jsonOption())
        .action(async ({ json = false }: { json?: boolean }) => {
          const cells = await listCells(requireCells());
          if (cells.some(({ state }) => state !== "ready")) process.exitCode = 1;
          if (json) return print(JSON.stringify(cells));
          showCells(cells);
        }),
    );
}

function requireCells(): readonly Cell[] {
  const cells = cellsOf(readSettings({ ...process.env, INTURN_CELL: undefined }));
  if (cells !== undefined) return cells;
  throw new InturnError(
    "settings_invalid",
    "Set INTURN_CELLS to the cells and their databases: a=postgres://…,b=postgres://…",
  );
}

function showCells(cells: readonly CellStatus[]): void {
  printTable(
    ["cell", "database", "state", "buckets", "pending"],
    cells.map(({ cell, database, state, buckets, pending }) => [
      cell,
      database,
      state,
      buckets === null ? "–" : String(buckets),
      pending === null ? "–" : formatNumber(pending),
    ]),
  );
  for (const { cell, problem } of cells) if (problem !== null) say(`Cell ${cell}: ${problem}`);
}
