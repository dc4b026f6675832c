/**
 * API keys and sources, which are the same in every cell: comparing those of two, and making them so.
 */
import type { Database } from "./pool.ts";

/** The tables, and by what their rows are told apart. */
const TABLES = [
  ["inturn.api_keys", "id"],
  ["inturn.sources", "name"],
] as const;

/** What a database has of them. */
export interface AccessTables {
  /** The same text for the same keys and sources, whenever each was made; nothing of them can be told from it. */
  readonly digest: string;
  readonly isEmpty: boolean;
}

/** Looks at them. */
export async function readAccessTables(database: Database): Promise<AccessTables> {
  const sums = TABLES.map(
    ([table, key]) =>
      `(select coalesce(jsonb_agg(to_jsonb(t) - 'created_at' || jsonb_build_object('revoked_at', to_jsonb(t) ->> 'revoked_at' is not null) order by t.${key} collate "C"), '[]') from ${table} as t)`,
  );
  const { rows } = await database.query<AccessTables>(
    `select encode(sha256(convert_to(all_rows::text, 'UTF8')), 'hex') as digest, all_rows = '[]' as "isEmpty"
     from (select ${sums.join(" || ")} as all_rows) as all_of_them`,
  );
  return rows[0] ?? { digest: "", isEmpty: true };
}

/** Gives a database the keys and the sources of another one, and no others, in one transaction. */
export async function copyAccessTables(source: Database, target: Database): Promise<void> {
  const contents = await Promise.all(
    TABLES.map(async ([table, key]) => {
      const { rows } = await source.query<{ all: string }>(
        `select coalesce(jsonb_agg(to_jsonb(t) order by t.${key} collate "C"), '[]')::text as all from ${table} as t`,
      );
      return { table, rows: rows[0]?.all ?? "[]" };
    }),
  );
  const client = await target.connect();
  let isDone = false;
  try {
    await client.query("begin");
    for (const { table, rows } of contents) {
      await client.query(`lock table ${table} in share row exclusive mode`);
      await client.query(`delete from ${table}`);
      await client.query(`insert into ${table} select * from jsonb_populate_recordset(null::${table}, $1::jsonb)`, [
        rows,
      ]);
    }
    await client.query("commit");
    isDone = true;
  } finally {
    // One that has failed is closed with its transaction.
    client.release(!isDone);
  }
}
