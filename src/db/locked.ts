import type { Database } from "./pool.ts";

/**
 * A batch that has waited this long for a row, in ms, goes on without it (see engine/detour.ts). Everybody in the batch has waited
 * as well: short, so that the wait does not matter; longer than our own statements hold their rows, so that the detour is rare.
 *
 * Appends wait for settles, which take 10 to 40 ms. Settles wait for appends, too: a thousand events take 100 ms while the machine is
 * busy. With 50 ms for both, most settles met a lock that was nearly over (bench/README.md).
 */
export const LOCK_MS_MAX = { append: 50, turn: 150 };

const FIND_LOCKED = { name: "inturn_find_locked", text: "select id from inturn.locked_accounts($1::text[]) as id" };

/** Which of these accounts are locked by somebody else at this moment. */
export async function findLockedAccounts(database: Database, accountIds: readonly string[]): Promise<Set<string>> {
  const { rows } = await database.query<{ id: string }>({ ...FIND_LOCKED, values: [accountIds] });
  return new Set(rows.map((row) => row.id));
}
