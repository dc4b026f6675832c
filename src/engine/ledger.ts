/**
 * A worker's side of the account rows: claim, read, settle, give back. The turns of all accounts of the process share
 * one statement of each kind (group commit), so a thousand accounts cost a handful of round trips.
 */
import { type Claimed, claimAccounts } from "../db/claim.ts";
import type { BatchRequest } from "../db/events.ts";
import { type GiveBack, giveBackLeases } from "../db/give-back.ts";
import { findLockedAccounts } from "../db/locked.ts";
import type { Database } from "../db/pool.ts";
import { type Settled, settleEvents } from "../db/settle.ts";
import type { Settlement } from "../db/settle-statement.ts";
import { recordStarts, type Start } from "../db/start.ts";
import { isBadData, isLocked } from "../errors/database.ts";
import type { WorkerMetrics } from "../metrics/worker-metrics.ts";
import { GroupCommit } from "./group-commit.ts";
import { BATCH_ACCOUNTS_MAX, type EventsInHand, type ReadAhead } from "./read-ahead.ts";
import { untilAvailable } from "./until-available.ts";

/**
 * What a turn does to its account. `undefined` and `false` mean that the lease is somebody else's.
 *
 * While the database is away, everything but a claim waits for it to come back and is sent again: each of these
 * statements changes nothing the second time. A claim fails: nothing depends on it yet.
 */
export interface Ledger {
  claim(accountId: string): Promise<Claimed | undefined>;
  /** The next events after a seq; undefined when there is no room for them in memory, or a signal has ended the wait. */
  read(request: BatchRequest, signals: readonly AbortSignal[]): Promise<EventsInHand | undefined>;
  /** Records that a handler is about to be called; false when the lease is lost. */
  recordStart(start: Start): Promise<boolean>;
  settle(settlement: Settlement): Promise<Settled | undefined>;
  giveBack(end: GiveBack): Promise<boolean>;
}

/**
 * Creates the ledger of one worker.
 *
 * @param options.hopeless aborts when it is no use to wait for the database any longer
 */
export function createLedger(options: {
  database: Database;
  workerId: string;
  hopeless: AbortSignal;
  readAhead: ReadAhead;
  metrics?: WorkerMetrics;
}): Ledger {
  const { database, workerId, hopeless, readAhead, metrics } = options;
  const batchesOf = <Item>(accountOf: (item: Item) => string) => ({
    weightMax: BATCH_ACCOUNTS_MAX,
    isItemsFault: isBadData,
    detour: {
      isLocked,
      accountsOf: (item: Item) => [accountOf(item)],
      findLocked: (accountIds: readonly string[]) => findLockedAccounts(database, accountIds),
      // A turn has nothing better to do than to wait for its own account.
      waitMsMax: Number.POSITIVE_INFINITY,
      waitingWeightMax: Number.POSITIVE_INFINITY,
      isHopeless: () => hopeless.aborted,
    },
  });
  const claims = new GroupCommit<string, Claimed | undefined>({
    ...batchesOf((accountId) => accountId),
    commit: async (accountIds) => {
      const claimed = await claimAccounts(database, workerId, accountIds);
      const byAccount = new Map(claimed.map((lease) => [lease.accountId, lease]));
      return accountIds.map((accountId) => byAccount.get(accountId));
    },
  });
  const starts = new GroupCommit<Start, boolean>({
    ...batchesOf((start) => start.accountId),
    commit: async (items) =>
      answersFor(items, await recordStarts(database, items)).map((recorded) => recorded !== undefined),
  });
  const settles = new GroupCommit<Settlement, Settled | undefined>({
    ...batchesOf((settlement) => settlement.accountId),
    commit: async (items) => {
      metrics?.settleBatch(items.length);
      return await settleEvents(database, items);
    },
  });
  const endings = new GroupCommit<GiveBack, boolean>({
    ...batchesOf((end) => end.accountId),
    commit: async (items) => {
      const ended = await giveBackLeases(database, workerId, items);
      return answersFor(items, ended).map((end) => end !== undefined);
    },
  });
  return {
    claim: (accountId) => claims.submit(accountId),
    read: (request, signals) => readAhead.read(request, signals),
    recordStart: (start) => untilAvailable(hopeless, () => starts.submit(start)),
    settle: (settlement) => untilAvailable(hopeless, () => settles.submit(settlement)),
    giveBack: (end) => untilAvailable(hopeless, () => endings.submit(end)),
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
