import { createHash } from "node:crypto";
import type { CellMap } from "../domain/cell.ts";

/** The bucket of an account, 0 to 255: the first byte of the SHA-256 of its id, as `inturn.bucket_of` has it in SQL. */
export function bucketOf(accountId: string): number {
  return createHash("sha256").update(accountId).digest().readUInt8(0);
}

/** The cell of an account. */
export function cellOf(map: CellMap, accountId: string): string {
  return map[bucketOf(accountId)] ?? "";
}
