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

/** Where a bucket is to go. */
export interface PlannedMove {
  readonly bucket: number;
  readonly to: string;
}

/** Which buckets to move so that each of these cells has as many as the others, give or take one, and no other cell has any. */
export function planBalance(map: CellMap, cells: readonly string[]): PlannedMove[] {
  const has = new Map(cells.map((name) => [name, map.filter((cell) => cell === name).length]));
  const least = Math.floor(map.length / cells.length);
  // Those that have most keep the one more that some must have.
  const byMost = cells.toSorted((a, b) => (has.get(b) ?? 0) - (has.get(a) ?? 0));
  const share = new Map(byMost.map((name, i) => [name, least + (i < map.length % cells.length ? 1 : 0)]));
  const room = byMost.flatMap((name) =>
    Array.from({ length: Math.max(0, (share.get(name) ?? 0) - (has.get(name) ?? 0)) }, () => name),
  );
  const kept = new Map<string, number>();
  return map.flatMap((cell, bucket) => {
    const number = (kept.get(cell) ?? 0) + 1;
    kept.set(cell, number);
    const to = number <= (share.get(cell) ?? 0) ? undefined : room.pop();
    return to === undefined ? [] : [{ bucket, to }];
  });
}
