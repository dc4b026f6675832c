/**
 * A worker's side of the account rows: claim, read, settle, give back. The turns of all accounts of the process share
 * one statement of each kind (group commit), so a thousand accounts cost a handful of round trips.
 */
import { type Claimed, claimAccounts } from "../db/claim.ts";
import { type PageRequest, readPages } from "../db/events.ts";
import { type GiveBack, giveBackLeases } from "../db/give-back.ts";
import type { Database } from "../db/pool.ts";
import { type Settled, type Settlement, settleEvents } from "../db/settle.ts";
import type { StoredEvent } from "../domain/event.ts";
import { GroupCommit } from "./group-commit.ts";

/** What a turn does to its account. `undefined` and `false` mean that the lease is somebody else's. */
export interface Ledger {
  claim(accountId: string): Promise<Claimed | undefined>;
  /** The next events after a seq, in order; empty when there are none. */
  read(request: PageRequest): Promise<readonly StoredEvent[]>;
  settle(settlement: Settlement): Promise<Settled | undefined>;
  giveBack(end: GiveBack): Promise<boolean>;
}

/** Accounts in one statement; the row locks it takes are held until it commits. */
const BATCH_ACCOUNTS_MAX = 500;

/** Creates the ledger of one worker. */
export function createLedger(database: Database, workerId: string): Ledger {
  const batches = { weightMax: BATCH_ACCOUNTS_MAX };
  const claims = new GroupCommit<string, Claimed | undefined>({
    ...batches,
    commit: async (accountIds) => {
      const claimed = await claimAccounts(database, workerId, accountIds);
      const byAccount = new Map(claimed.map((lease) => [lease.accountId, lease]));
      return accountIds.map((accountId) => byAccount.get(accountId));
    },
  });
  const reads = new GroupCommit<PageRequest, readonly StoredEvent[]>({
    ...batches,
    commit: (requests) => readPages(database, requests),
  });
  const settles = new GroupCommit<Settlement, Settled | undefined>({
    ...batches,
    commit: async (items) => answersFor(items, await settleEvents(database, items)),
  });
  const endings = new GroupCommit<GiveBack, boolean>({
    ...batches,
    commit: async (items) => {
      const ended = await giveBackLeases(database, workerId, items);
      return answersFor(items, ended).map((end) => end !== undefined);
    },
  });
  return {
    claim: (accountId) => claims.submit(accountId),
    read: (request) => reads.submit(request),
    settle: (settlement) => settles.submit(settlement),
    giveBack: (end) => endings.submit(end),
  };
}

/** A lease, named by what a statement was given or answered. */
interface LeaseName {
  readonly accountId: string;
  readonly epoch: number | null;
}

/** Puts the rows that came back beside the leases that were sent. A lease without a row had been lost. */
function answersFor<Row extends LeaseName>(leases: readonly LeaseName[], rows: readonly Row[]): (Row | undefined)[] {
  // An account can stand in a batch twice, once under a lease that was lost: the epoch tells the two apart.
  const keyOf = (lease: LeaseName) => `${lease.epoch ?? "any"}#${lease.accountId}`;
  const byLease = new Map(rows.map((row) => [keyOf(row), row]));
  return leases.map((lease) => byLease.get(keyOf(lease)));
}
