import type { Database } from "./pool.ts";

/** Where signed webhooks come from. */
export interface Source {
  readonly name: string;
  /** The JSON pointer to the account's id in a body. */
  readonly accountPointer: string;
  readonly createdAt: Date;
}

/** Keeps a new source; false when there is one of this name. */
export async function insertSource(
  database: Database,
  source: { name: string; secret: string; accountPointer: string },
): Promise<boolean> {
  const { rowCount } = await database.query(
    "insert into inturn.sources (name, secrets, account_pointer) values ($1, array[$2], $3) on conflict do nothing",
    [source.name, source.secret, source.accountPointer],
  );
  return rowCount === 1;
}

/** Every source, by name, without its secrets. */
export async function listSources(database: Database): Promise<Source[]> {
  const { rows } = await database.query<Source>(
    `select name, account_pointer as "accountPointer", created_at as "createdAt" from inturn.sources order by name`,
  );
  return rows;
}

/** Every source with its secrets, the newest first, for checking signatures. */
export async function readSources(database: Database): Promise<(Source & { secrets: string[] })[]> {
  const { rows } = await database.query<Source & { secrets: string[] }>(
    `select name, account_pointer as "accountPointer", created_at as "createdAt", secrets from inturn.sources`,
  );
  return rows;
}

/** Puts a new secret first and keeps the one before; false when there is no such source. */
export async function rotateSource(database: Database, name: string, secret: string): Promise<boolean> {
  const { rowCount } = await database.query(
    "update inturn.sources set secrets = array[$2, secrets[1]] where name = $1",
    [name, secret],
  );
  return rowCount === 1;
}

/** Forgets a source; false when there is none of this name. */
export async function deleteSource(database: Database, name: string): Promise<boolean> {
  return (await database.query("delete from inturn.sources where name = $1", [name])).rowCount === 1;
}
