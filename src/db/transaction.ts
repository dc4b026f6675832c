import type { Database, TransactionClient } from "./pool.ts";

/**
 * Runs `work` inside a transaction and commits it when it resolves; rolls everything back when it rejects.
 *
 * @param options.idleMsMax a transaction that does nothing for this long is ended by the server: a process that was
 *   stopped in the middle must not keep its rows locked for longer than its lease
 */
export async function inTransaction<Result>(
  database: Database,
  options: { idleMsMax: number },
  work: (client: TransactionClient) => Promise<Result>,
): Promise<Result> {
  const client = await database.connect();
  let broken: unknown;
  try {
    await client.query(`begin; set local idle_in_transaction_session_timeout = ${Math.round(options.idleMsMax)}`);
    const result = await work(client);
    await client.query("commit");
    return result;
  } catch (error) {
    // Destroying the connection rolls back as well, when it cannot be asked to.
    await client.query("rollback").catch((failure: unknown) => (broken = failure));
    throw error;
  } finally {
    client.release(broken !== undefined);
  }
}
