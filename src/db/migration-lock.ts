/**
 * One migration at a time. The lock belongs to a transaction, not to a session: it ends with its transaction whatever happens,
 * also behind a pooler that gives the session to somebody else.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { InturnError } from "../errors/error.ts";

/** The number is arbitrary and only ours. */
const MIGRATION_LOCK = 4_917_238_002;

/** Between two tries to get the lock. */
const TRY_MS = 200;

/** A migration that waits this long says what it waits for. */
const SAY_AFTER_MS = 2_000;

/** A migration that waits longer gives up. */
const WAIT_MS_MAX = 300_000;

/** Whatever the database or the role has set. The transaction is idle while graphile-worker migrates on its own connection. */
const BEGIN = "begin isolation level read committed; set local idle_in_transaction_session_timeout = 0";

/**
 * Runs `work` in a transaction that holds the lock, and commits it.
 *
 * @param say hears which session holds the lock, when that takes longer
 * @throws InturnError `migration_failed` when another session holds the lock for five minutes
 */
export async function inMigration(
  client: pg.Client,
  say: (line: string) => void,
  work: () => Promise<void>,
): Promise<void> {
  await client.query(BEGIN);
  try {
    await lock(client, say);
    await work();
    await client.query("commit");
  } catch (error) {
    await client.query("rollback").catch(() => undefined);
    throw error;
  }
}

async function lock(client: pg.Client, say: (line: string) => void): Promise<void> {
  for (let waitedMs = 0; !(await tryLock(client)); waitedMs += TRY_MS) {
    if (waitedMs === SAY_AFTER_MS) say(`waiting for another migration, which ${await describeHolder(client)} runs`);
    if (waitedMs >= WAIT_MS_MAX) {
      throw new InturnError(
        "migration_failed",
        `Another migration, which ${await describeHolder(client)} runs, has not ended for ${WAIT_MS_MAX / 60_000} minutes.`,
      );
    }
    await sleep(TRY_MS);
  }
}

async function tryLock(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>("select pg_try_advisory_xact_lock($1::bigint) as locked", [
    MIGRATION_LOCK,
  ]);
  return rows[0]?.locked === true;
}

async function describeHolder(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ holder: string }>(
    `select format('session %s (%s)', l.pid, coalesce(nullif(a.application_name, ''), 'no application name')) as holder
     from pg_locks as l left join pg_stat_activity as a on a.pid = l.pid
     where l.locktype = 'advisory' and l.granted and l.objsubid = 1
       and (l.classid::bigint << 32) + l.objid::bigint = $1::bigint
       and l.database = (select d.oid from pg_database as d where d.datname = current_database())`,
    [MIGRATION_LOCK],
  );
  return rows[0]?.holder ?? "a session that has just ended";
}
