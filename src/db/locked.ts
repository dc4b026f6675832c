import type { Database } from "./pool.ts";

/**
 * A batch that has waited this long for a row goes on without it (see engine/detour.ts). Everybody in the batch has waited
 * as well: short, so that the wait does not matter; longer than our own statements hold their rows, so that the detour is rare.
 */
export const LOCK_MS_MAX = 50;

const FIND_LOCKED = {
  name: "inturn_find_locked",
  text: `
    with free as materialized (
      select a.id from inturn.accounts as a where a.id = any ($1::text[]) order by a.id for update skip locked
    )
    select a.id from inturn.accounts as a where a.id = any ($1::text[]) and not exists (select from free as f where f.id = a.id)`,
};

/** Which of these accounts are locked by somebody else at this moment. */
export async function findLockedAccounts(database: Database, accountIds: readonly string[]): Promise<Set<string>> {
  const { rows } = await database.query<{ id: string }>({ ...FIND_LOCKED, values: [accountIds] });
  return new Set(rows.map((row) => row.id));
}
