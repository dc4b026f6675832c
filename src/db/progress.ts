import type { Database, Queryable } from "./pool.ts";

/** How far the whole system is. */
export interface Progress {
  readonly received: number;
  readonly settled: number;
}

/** Counts over the account rows: cheap enough to ask twice a second while everything runs. */
export async function readProgress(database: Database): Promise<Progress> {
  const { rows } = await database.query<Progress>(
    `select coalesce(sum(last_seq), 0)::bigint as received, coalesce(sum(processed_seq), 0)::bigint as settled
     from inturn.accounts`,
  );
  return rows[0] ?? { received: 0, settled: 0 };
}

/** How many events wait. Reads the rows of the accounts that are not idle: the others have nothing that waits. */
export async function countPending(database: Database): Promise<number> {
  const { rows } = await database.query<{ pending: number }>(
    `select coalesce(sum(last_seq - processed_seq), 0)::bigint as pending from inturn.accounts where state <> 'idle'`,
  );
  return rows[0]?.pending ?? 0;
}

/** Whether a database can be worked with. */
export interface Readiness {
  /** It lets this session write. */
  readonly isWritable: boolean;
  /** It has our tables of this version, and graphile-worker's. */
  readonly isMigrated: boolean;
}

/** Asks a database whether it can be worked with. Rejects when it does not answer. */
export async function readReadiness(database: Queryable): Promise<Readiness> {
  const { rows } = await database.query<Readiness>(
    // Of the tables the newest of what a migration brings.
    `select current_setting('transaction_read_only') = 'off' as "isWritable",
       to_regclass('graphile_worker.jobs') is not null and to_regclass('inturn.buckets') is not null as "isMigrated"`,
  );
  return rows[0] ?? { isWritable: false, isMigrated: false };
}

/** Whether any event is of another type than this one. */
export async function hasOtherEvents(database: Database, type: string): Promise<boolean> {
  const { rows } = await database.query<{ found: boolean }>(
    "select exists (select from inturn.events where type is distinct from $1) as found",
    [type],
  );
  return rows[0]?.found === true;
}

/** Deletes every account, every event, all targets, and every record of what operators did. */
export async function clearEverything(database: Database): Promise<void> {
  await database.query(
    `truncate inturn.accounts, inturn.events, inturn.operations, inturn.attempts, inturn.targets, inturn.target_attempts,
       inturn.bulk_operations cascade`,
  );
}

/** How far these accounts are: the last settled seq of each that exists. */
export async function readProcessedSeqs(
  database: Database,
  accountIds: readonly string[],
): Promise<Map<string, number>> {
  const { rows } = await database.query<{ id: string; seq: number }>(
    "select a.id, a.processed_seq as seq from inturn.accounts as a where a.id = any ($1)",
    [accountIds],
  );
  return new Map(rows.map(({ id, seq }) => [id, seq]));
}
