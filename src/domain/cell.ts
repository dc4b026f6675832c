/**
 * Cells: databases that each hold a whole Inturn and a share of the accounts. Accounts are spread over 256 buckets by a hash of their
 * ids, and each bucket lies in one cell.
 */

/** How many buckets there are, for ever: another number would send accounts elsewhere. */
export const BUCKETS = 256;

/** What a cell may be called. */
export const CELL_NAME: RegExp = /^[a-z][a-z0-9-]{0,30}$/;

/** For each bucket the name of its cell. */
export type CellMap = readonly string[];

/** Spreads the buckets over cells, evenly. @param cells their names, at least one */
export function spreadBuckets(cells: readonly string[]): CellMap {
  return Array.from({ length: BUCKETS }, (_, bucket) => cells[Math.floor((bucket * cells.length) / BUCKETS)] ?? "");
}
