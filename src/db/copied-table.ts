import { asMover, type MovedBucket } from "./move.ts";
import type { Database } from "./pool.ts";

/** A table whose rows are copied as PostgreSQL writes them: every digit and every character stays. */
export interface CopiedTable {
  readonly name: string;
  readonly key: readonly string[];
  /** A row `r` as text. */
  readonly row: string;
  /** Puts rows of this form in, or instead of what is there. */
  readonly put: string;
}

/** The columns come in the order that they have in the target: it reads them by that. */
export async function lookAt(target: Database, name: string, key: readonly string[]): Promise<CopiedTable> {
  const { rows } = await target.query<{ column: string }>(
    `select quote_ident(a.attname) as column from pg_attribute as a
     where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum`,
    [`inturn.${name}`],
  );
  const columns = rows.map(({ column }) => column);
  const changes = columns.filter((column) => !key.includes(column)).map((column) => `${column} = excluded.${column}`);
  return {
    name,
    key,
    row: `row(${columns.map((column) => `r.${column}`).join(", ")})::text`,
    // Read once, and not for each of its columns anew.
    put: `insert into inturn.${name} select (w.row).* from (select u.row::inturn.${name} as row from unnest($3::text[]) as u (row) offset 0) as w cross join mine
      on conflict (${key.join(", ")}) do update set ${changes.join(", ")}`,
  };
}

/** Writes in the cell to which the bucket goes, as the one who moves it. @param text a statement of the rows in $3, joined with `mine` */
export async function put(
  target: Database,
  { bucket, mover }: MovedBucket,
  text: string,
  rows: readonly string[],
): Promise<void> {
  await asMover(target, `with mine as materialized (select inturn.lock_mover($1::smallint, $2)) ${text}`, [
    bucket,
    mover,
    rows,
  ]);
}
