import { Permits } from "../db/permits.ts";
import type { Database, Queryable, TransactionClient } from "../db/pool.ts";
import { noteEarlyStarts, type Settled, settleInTransaction } from "../db/settle.ts";
import type { Settlement } from "../db/settle-statement.ts";
import { inTransaction } from "../db/transaction.ts";
import { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";

/** The worker's transactions for handlers that settle their event together with their own writes. */
export interface Transactions {
  /**
   * Runs `work`, then settles the event, and commits both.
   *
   * @param settlementOf called when the work is done
   * @param signal aborts when a connection is not worth waiting for any more
   * @throws InturnError `lease_lost` when the lease is somebody else's by now, or the event is settled already; nothing was
   *   written. `transaction_misused` when the work has ended the transaction by itself. And what `inTransaction` throws
   */
  settleWith<Result>(
    settlementOf: () => Settlement,
    work: (client: TransactionClient) => Promise<Result>,
    signal?: AbortSignal,
  ): Promise<{ result: Result; settled: Settled }>;
}

/**
 * Creates the transactions of one worker: as many at once as the pool has connections, the others wait for theirs.
 *
 * The account's row is taken at the settle and not before: it would keep new events out for as long as the work takes.
 *
 * @param options.idleMsMax see `inTransaction`
 */
export function createTransactions(database: Database, options: { idleMsMax: number; log: Log }): Transactions {
  const { idleMsMax, log } = options;
  const permits = new Permits(database.options.max ?? 1);
  const onLate = (error: InturnError) => log.warn({ err: error }, "a handler used its transaction after its end");
  return {
    async settleWith(settlementOf, work, signal) {
      let settlement: Settlement | undefined;
      const finish = async (client: Queryable, mark: string) => {
        settlement = settlementOf();
        return await settleOrThrow(client, settlement, mark);
      };
      try {
        const how = { permits, idleMsMax, signal, onLate };
        const { result, finished } = await inTransaction(database, how, { work, finish });
        return { result, settled: finished };
      } catch (error) {
        const isLost = error instanceof InturnError && error.code === "lease_lost";
        if (isLost && settlement !== undefined) await noteEarlyStarts(database, [settlement]);
        throw error;
      }
    },
  };
}

async function settleOrThrow(client: Queryable, settlement: Settlement, mark: string): Promise<Settled> {
  const settled = await settleInTransaction(client, settlement, mark);
  if (settled === "elsewhere") {
    throw new InturnError(
      "transaction_misused",
      "The transaction is no longer the one that the handler was given: something in it sent commit, rollback, or reset all. The event is not settled; what was committed that way stays.",
    );
  }
  if (settled !== undefined) return settled;
  throw new InturnError(
    "lease_lost",
    `Event ${settlement.seq} of account ${settlement.accountId} is no longer this handler's to settle; nothing of its transaction was written.`,
  );
}
