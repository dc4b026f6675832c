import { makeCell } from "../../src/db/cells.ts";
import { spreadBuckets } from "../../src/domain/cell.ts";
import { cellOf } from "../../src/engine/bucket.ts";
import { type TestDatabase, withDatabase } from "./database.ts";

/** The names of the cells of tests. */
export const NAMES = ["a", "b", "c"] as const;

/** One of {@link NAMES}. */
export type CellName = (typeof NAMES)[number];

/** A database for each cell. */
export type TestCells = Readonly<Record<CellName, TestDatabase>>;

/** Where the accounts of tests lie. */
export const MAP = spreadBuckets(NAMES);

/** The first ids of accounts that lie in this cell. */
export function idsIn(cell: CellName, count: number): string[] {
  return Array.from({ length: 1_000 }, (_, i) => `account-${i}`)
    .filter((id) => cellOf(MAP, id) === cell)
    .slice(0, count);
}

/** A test body with three databases of its own. @param options.made whether they are cells */
export function withCells(
  body: (cells: TestCells) => Promise<void>,
  { made = true }: { made?: boolean } = {},
): () => Promise<void> {
  return withDatabase(async (a) => {
    await withDatabase(async (b) => {
      await withDatabase(async (c) => {
        const cells = { a, b, c };
        for (const here of made ? NAMES : []) await makeCell(cells[here].database, { here, map: MAP });
        await body(cells);
      })();
    })();
  });
}

/** The setting. */
export function cellsSetting(cells: Readonly<Record<string, { readonly url: string }>>): string {
  return Object.entries(cells)
    .map(([name, { url }]) => `${name}=${url}`)
    .join(",");
}
