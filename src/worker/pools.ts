/**
 * A worker's connections: those that its turns share, and those that handlers' transactions take.
 */

import { LOCK_MS_MAX } from "../db/locked.ts";
import { type Database, openDatabase } from "../db/pool.ts";
import type { DatabaseAddress } from "../db/session-settings.ts";
import { LEASE_TIMES } from "../domain/lease-times.ts";
import type { Log } from "../log/log.ts";

/** Claims, reads, settles and give-backs take one connection each, and one more for what meets a lock; two are for recovery. */
const CONNECTIONS_MAX = 9;

/**
 * Handlers' transactions at once in one worker, each on a connection of its own, opened when it is needed; more wait, as long
 * as their handlers' time limit allows, and lose no attempt by it. No setting: PostgreSQL does not do more at once than it
 * has cores and disks for, and whose transactions wait for something else starts more workers.
 */
const TRANSACTIONS_MAX = 20;

/** Of graphile-worker: one listens, one fetches, the others complete jobs. */
export const DISPATCHER_CONNECTIONS_MAX = 6;

/** Of one worker at most: both pools, graphile-worker's, and its sign of life. */
export const WORKER_CONNECTIONS_MAX: number = CONNECTIONS_MAX + TRANSACTIONS_MAX + DISPATCHER_CONNECTIONS_MAX + 1;

/** Opens both pools. */
export function openWorkerPools(url: DatabaseAddress, log: Log): { database: Database; transactionPool: Database } {
  const onError = (error: Error) => log.debug({ err: error }, "a database connection broke");
  const limits = { statementMsMax: LEASE_TIMES.statementMs, lockMsMax: LOCK_MS_MAX.turn };
  const pool = { url, name: "inturn worker", connectionsMax: CONNECTIONS_MAX, keyedPlans: true, onError };
  return {
    database: openDatabase({ ...pool, ...limits }),
    transactionPool: openDatabase({ url, name: "inturn handler", onError, connectionsMax: TRANSACTIONS_MAX }),
  };
}
