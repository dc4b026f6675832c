import type { SourceScheme } from "../domain/source.ts";
import type { Database } from "./pool.ts";

/** Where signed webhooks come from. */
export interface Source {
  readonly name: string;
  readonly scheme: SourceScheme;
  /** Where the account's id is, as `Pointers` has it. */
  readonly accountPointer: string;
  /** Where the event's id and type are; null for where its scheme has them. */
  readonly idPointer: string | null;
  readonly typePointer: string | null;
  readonly createdAt: Date;
}

const COLUMNS = `
  name, scheme, account_pointer as "accountPointer", id_pointer as "idPointer", type_pointer as "typePointer", created_at as "createdAt"`;

/** A source to be kept. */
export interface NewSource {
  readonly name: string;
  readonly secret: string;
  readonly accountPointer: string;
  /** Standard Webhooks unless told. */
  readonly scheme?: SourceScheme;
  readonly idPointer?: string | undefined;
  readonly typePointer?: string | undefined;
}

/** Keeps a new source; false when there is one of this name. */
export async function insertSource(database: Database, source: NewSource): Promise<boolean> {
  const { name, secret, accountPointer, scheme = "standard", idPointer = null, typePointer = null } = source;
  const { rowCount } = await database.query(
    `insert into inturn.sources (name, scheme, secrets, account_pointer, id_pointer, type_pointer)
     values ($1, $2, array[$3], $4, $5, $6) on conflict do nothing`,
    [name, scheme, secret, accountPointer, idPointer, typePointer],
  );
  return rowCount === 1;
}

/** Every source, by name, without its secrets. */
export async function listSources(database: Database): Promise<Source[]> {
  const { rows } = await database.query<Source>(`select ${COLUMNS} from inturn.sources order by name`);
  return rows;
}

/** Every source with its secrets, the newest first, for checking signatures. */
export async function readSources(database: Database): Promise<(Source & { secrets: string[] })[]> {
  const { rows } = await database.query<Source & { secrets: string[] }>(
    `select ${COLUMNS}, secrets from inturn.sources`,
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
