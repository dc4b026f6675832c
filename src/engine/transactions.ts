import type { Database, TransactionClient } from "../db/pool.ts";
import { type Settled, type Settlement, settleInTransaction } from "../db/settle.ts";
import { inTransaction } from "../db/transaction.ts";
import { InturnError } from "../errors/error.ts";

/** The worker's transactions for handlers that settle their event together with their own writes. */
export interface Transactions {
  /**
   * Runs `work`, then settles the event, and commits both.
   *
   * @param settlementOf called when the work is done
   * @throws InturnError `lease_lost` when the lease is somebody else's by now, or the event is settled already; nothing was
   *   written
   */
  settleWith<Result>(
    settlementOf: () => Settlement,
    work: (client: TransactionClient) => Promise<Result>,
  ): Promise<{ result: Result; settled: Settled }>;
}

/**
 * Creates the transactions of one worker.
 *
 * The account's row is taken at the settle and not before: it would keep new events out for as long as the work takes.
 *
 * @param options.idleMsMax see `inTransaction`
 */
export function createTransactions(database: Database, options: { idleMsMax: number }): Transactions {
  return {
    settleWith: (settlementOf, work) =>
      inTransaction(database, options, async (client) => {
        const result = await work(client);
        const settlement = settlementOf();
        const settled = await settleInTransaction(client, settlement);
        if (settled !== undefined) return { result, settled };
        throw new InturnError(
          "lease_lost",
          `Event ${settlement.seq} of account ${settlement.accountId} is no longer this handler's to settle; nothing of its transaction was written.`,
        );
      }),
  };
}
