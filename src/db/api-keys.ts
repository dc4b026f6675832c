import type { Scope } from "../domain/access.ts";
import type { Database } from "./pool.ts";

/** An API key as it is kept: never the key itself. */
export interface ApiKey {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly accountPrefix: string | null;
  readonly eventsPerSecond: number | null;
  readonly createdAt: Date;
  readonly revokedAt: Date | null;
}

const COLUMNS = `id, name, scopes, account_prefix as "accountPrefix", events_per_second as "eventsPerSecond",
  created_at as "createdAt", revoked_at as "revokedAt"`;

/** Keeps a new key. @param key.hash SHA-256 of the key, in hex */
export async function insertApiKey(
  database: Database,
  key: Omit<ApiKey, "createdAt" | "revokedAt"> & { hash: string },
): Promise<void> {
  await database.query(
    `insert into inturn.api_keys (id, name, hash, scopes, account_prefix, events_per_second) values ($1, $2, $3, $4, $5, $6)`,
    [key.id, key.name, key.hash, key.scopes, key.accountPrefix, key.eventsPerSecond],
  );
}

/** Every key, the newest last, revoked ones too. */
export async function listApiKeys(database: Database): Promise<ApiKey[]> {
  return (await database.query<ApiKey>(`select ${COLUMNS} from inturn.api_keys order by created_at, id`)).rows;
}

/** Every key with its hash, for comparing. */
export async function readApiKeys(database: Database): Promise<(ApiKey & { hash: string })[]> {
  return (await database.query<ApiKey & { hash: string }>(`select ${COLUMNS}, hash from inturn.api_keys`)).rows;
}

/** Revokes a key, for good; false when there is none with this id, or it is revoked already. */
export async function revokeApiKey(database: Database, id: string): Promise<boolean> {
  const { rowCount } = await database.query(
    "update inturn.api_keys set revoked_at = clock_timestamp() where id = $1 and revoked_at is null",
    [id],
  );
  return rowCount === 1;
}
