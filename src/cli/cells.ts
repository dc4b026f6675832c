import { Command, InvalidArgumentError, Option } from "commander";
import { type Cell, cellsOf } from "../config/cell-settings.ts";
import { readSettings } from "../config/settings.ts";
import { hubStatements } from "../db/hub.ts";
import { BUCKETS, type PlannedMove } from "../domain/cell.ts";
import { formatDuration } from "../domain/duration.ts";
import { InturnError } from "../errors/error.ts";
import { type CellStatus, initCells, listCells, repairCells } from "../service/cells.ts";
import { type Moved, type MoveProgress, Mover } from "../service/move.ts";
import { jsonOption, wholeNumberOption } from "./options.ts";
import { formatNumber, print, printTable, say } from "./output.ts";
import { createProgress } from "./progress.ts";
import { listenForStop, unlessStopped } from "./stop.ts";

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
    )
    .addCommand(
      new Command("repair")
        .description("give all cells the API keys and the sources of one of them, and no others")
        .requiredOption("--from <cell>", "the cell whose keys and sources are right")
        .addOption(jsonOption())
        .action(async ({ from, json = false }: { from: string; json?: boolean }) => {
          const repaired = await repairCells(requireCells(), from);
          if (json) return print(JSON.stringify({ repaired }));
          print(repaired.length === 0 ? "All had the same." : `Those of ${from} are in: ${repaired.join(", ")}.`);
        }),
    )
    .addCommand(
      new Command("hub")
        .description(
          "print the SQL, with passwords, of a database whose views have the rows of all cells (postgres_fdw)",
        )
        .action(() => {
          print(`begin;\n${hubStatements(requireCells()).join(";\n")};\ncommit;`);
        }),
    )
    .addCommand(createMoveCommand())
    .addCommand(createBalanceCommand())
    .addCommand(createDrainCommand());
}

function createMoveCommand(): Command {
  return addMoveOptions(
    new Command("move")
      .description("move buckets to another cell while both work; carries on with, or undoes, what was interrupted")
      .addOption(
        new Option("--bucket <numbers>", "which, separated by commas: 0 to 255")
          .argParser(parseBuckets)
          .makeOptionMandatory(),
      )
      .requiredOption("--to <cell>", "the cell"),
  ).action(async ({ bucket, to, ...flags }: MoveFlags & { bucket: number[]; to: string }) => {
    await moveAll(flags, async () => bucket.map((number) => ({ bucket: number, to })));
  });
}

function createBalanceCommand(): Command {
  const command = new Command("balance").description("move buckets until every cell has as many");
  return addMoveOptions(command).action(async (flags: MoveFlags) => {
    await moveAll(flags, (mover, cells) => mover.planBalance(cells.map(({ name }) => name)));
  });
}

function createDrainCommand(): Command {
  const command = new Command("drain")
    .description("move all buckets away from a cell, to the others")
    .argument("<cell>", "the cell that is to be empty");
  return addMoveOptions(command).action(async (cell: string, flags: MoveFlags) => {
    await moveAll(flags, (mover, cells) => {
      const others = cells.map(({ name }) => name).filter((name) => name !== cell);
      if (others.length === cells.length || others.length === 0)
        throw new InturnError("settings_invalid", `INTURN_CELLS has no cell ${cell} beside others.`);
      return mover.planBalance(others);
    });
  });
}

interface MoveFlags {
  /** Seconds. */
  readonly wait: number;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

function addMoveOptions(command: Command): Command {
  return command
    .addOption(
      wholeNumberOption("--wait <seconds>", "how long handlers that run may take to end", {
        least: 0,
        most: 86_400,
        default: 60,
      }),
    )
    .addOption(new Option("--dry-run", "only say what would be moved"))
    .addOption(jsonOption());
}

function parseBuckets(text: string): number[] {
  const numbers = text.split(",").map((each) => (/^\d{1,3}$/.test(each.trim()) ? Number(each) : BUCKETS));
  if (numbers.every((number) => number < BUCKETS)) return [...new Set(numbers)];
  throw new InvalidArgumentError(`It takes numbers from 0 to ${BUCKETS - 1}, separated by commas.`);
}

/** Moves one bucket after the other. What has been moved stays so when one fails. */
async function moveAll(
  { wait, dryRun = false, json = false }: MoveFlags,
  plan: (mover: Mover, cells: readonly Cell[]) => Promise<readonly PlannedMove[]>,
): Promise<void> {
  const cells = requireCells();
  const progress = createProgress("buckets");
  let done = 0;
  let total = 0;
  const onProgress = ({ bucket, step, events }: MoveProgress) =>
    progress.update(done, total, `bucket ${bucket}: ${step}${events > 0 ? `, ${formatNumber(events)} events` : ""}`);
  const signal = listenForStop();
  const mover = new Mover({ cells, waitMs: 1_000 * wait, signal, onProgress });
  try {
    const moves = await plan(mover, cells);
    total = moves.length;
    const moved: Moved[] = [];
    for (const move of dryRun ? [] : moves) {
      const result = await unlessStopped(signal, mover.move(move));
      if (signal.aborted) break;
      if (result !== undefined) moved.push(result);
      done += 1;
    }
    progress.stop();
    if (signal.aborted) {
      process.exitCode = 1;
      say(
        `Stopped after ${done} of ${total}: the bucket that was under way stays where it is, or is moved on by the next call.`,
      );
    }
    if (json) print(JSON.stringify(dryRun ? { planned: moves } : { moved }));
    else if (dryRun) print(moves.map(({ bucket, to }) => `bucket ${bucket} to ${to}`).join("\n") || "Nothing to move.");
    else showMoved(moved);
  } finally {
    progress.stop();
    await mover.close();
  }
}

function showMoved(moved: readonly Moved[]): void {
  if (moved.length === 0) return print("Nothing to move.");
  printTable(
    ["bucket", "from", "to", "accounts", "events", "took none for"],
    moved.map(({ bucket, from, to, accounts, events, frozenMs }) => [
      String(bucket),
      from,
      to,
      formatNumber(accounts),
      formatNumber(events),
      formatDuration(frozenMs),
    ]),
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
    ["cell", "database", "state", "buckets", "moving away", "pending"],
    cells.map(({ cell, database, state, buckets, moving, pending }) => [
      cell,
      database,
      state,
      buckets === null ? "–" : String(buckets),
      moving.join(",") || "–",
      pending === null ? "–" : formatNumber(pending),
    ]),
  );
  for (const { cell, problem } of cells) if (problem !== null) say(`Cell ${cell}: ${problem}`);
}
