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

/** Of graphile-worker: one listens, one fetches, the others complete jobs. */
export const DISPATCHER_CONNECTIONS_MAX = 6;

/** Its sign of life. */
const LIFE_CONNECTIONS = 1;

/**
 * What is left of `workerConnectionsMax` is for handlers' transactions, each on a connection of its own that is opened when it is needed.
 * More of them wait, as long as their handlers' time limit allows, and lose no attempt by it.
 */
const OWN_CONNECTIONS = CONNECTIONS_MAX + DISPATCHER_CONNECTIONS_MAX + LIFE_CONNECTIONS;

/** What the pools of a worker need to know. */
interface WorkerPoolsOptions {
  readonly databaseUrl: DatabaseAddress;
  readonly poolerUrl?: DatabaseAddress | undefined;
  readonly workerConnectionsMax: number;
  readonly log: Log;
}

/** Opens both pools. */
export function openWorkerPools(options: WorkerPoolsOptions): { database: Database; transactionPool: Database } {
  const { databaseUrl: url, poolerUrl: pooler, workerConnectionsMax, log } = options;
  const onError = (error: Error) => log.debug({ err: error }, "a database connection broke");
  const limits = { statementMsMax: LEASE_TIMES.statementMs, lockMsMax: LOCK_MS_MAX.turn };
  const common = { url, pooler, onError };
  return {
    database: openDatabase({
      ...common,
      ...limits,
      name: "inturn worker",
      connectionsMax: CONNECTIONS_MAX,
      keyedPlans: true,
    }),
    transactionPool: openDatabase({
      ...common,
      name: "inturn handler",
      connectionsMax: workerConnectionsMax - OWN_CONNECTIONS,
    }),
  };
}
