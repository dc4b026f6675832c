/**
 * Statements through a pooler, such as PgBouncer in transaction mode: a session of PostgreSQL serves many clients, one transaction
 * after the other. So nothing of ours may stay in it: each statement is a transaction that begins with our settings, and none is
 * prepared under a name. That takes two more round trips for each statement.
 */
import pg from "pg";
import { isReadOnly } from "../errors/database.ts";

/** What their transactions begin with, for pools that go through a pooler. */
const SETTINGS = new WeakMap<pg.Pool, string>();

/** What to put behind `begin`: nothing where sessions are ours and set up already. */
export function settingsBehindBegin(pool: pg.Pool): string {
  return SETTINGS.get(pool) ?? "";
}

/** Whether the sessions of a pool are ours alone. */
export function ownsSessions(pool: pg.Pool): boolean {
  return !SETTINGS.has(pool);
}

/**
 * Makes a pool fit for a pooler.
 *
 * @param settings of every transaction, as a session of our own would have them
 */
export function speakThroughPooler(pool: pg.Pool, settings: Readonly<Record<string, string>>): void {
  const values = Object.entries(settings).map(([name, value]) => `; set local ${name} = '${value}'`);
  // A transaction has its isolation from its beginning: what is the default by then comes too late.
  SETTINGS.set(pool, ` isolation level read committed${values.join("")}`);
  const query = async (statement: string | pg.QueryConfig, parameters?: unknown[]) =>
    await queryInTransaction(pool, typeof statement === "string" ? { text: statement } : statement, parameters);
  pool.query = query as typeof pool.query;
}

async function queryInTransaction(
  pool: pg.Pool,
  { name: _unused, ...statement }: pg.QueryConfig,
  parameters: unknown[] | undefined,
): Promise<pg.QueryResult> {
  const client = await pool.connect();
  try {
    await client.query(`begin${settingsBehindBegin(pool)}`);
    const result = await client.query(statement, parameters);
    await client.query("commit");
    client.release();
    return result;
  } catch (error) {
    // Without an answer of PostgreSQL nobody knows in what state the connection is; and a server that lets nobody write is left.
    const isOver = error instanceof pg.DatabaseError && !isReadOnly(error) && (await rollBack(client));
    client.release(!isOver);
    throw error;
  }
}

async function rollBack(client: pg.PoolClient): Promise<boolean> {
  return await client.query("rollback").then(
    () => true,
    () => false,
  );
}
