/**
 * The overview for a terminal: the same readings that the dashboard shows.
 */

import type { Database } from "../db/pool.ts";
import { type Pulse, readPulse } from "../db/pulse.ts";
import { listUrgentAccounts, type UrgentAccount } from "../db/urgent-accounts.ts";
import { listWorkers, type WorkerAtWork } from "../db/workers.ts";

/** The system at a moment. */
export interface Status extends Pulse {
  /** Between this reading and the one before. */
  readonly receivedPerSecond: number;
  readonly settledPerSecond: number;
  /** The most urgent accounts that are blocked or retrying. */
  readonly attention: readonly UrgentAccount[];
  readonly workers: readonly WorkerAtWork[];
}

/** Accounts and workers that one status names. */
const NAMED_MAX = 10;

/** Reads the status; rates are those since `before`. */
export async function readStatus(database: Database, before: Pulse): Promise<Status> {
  const pulse = await readPulse(database);
  const attention = await listUrgentAccounts(database, {
    states: ["blocked", "retrying"],
    prefix: "",
    sort: "urgency",
    offset: 0,
    limit: NAMED_MAX,
  });
  const workers = await listWorkers(database, NAMED_MAX);
  const seconds = Math.max(0.001, (pulse.atMs - before.atMs) / 1_000);
  const rateOf = (of: "received" | "settled") => Math.max(0, Math.round((pulse[of] - before[of]) / seconds));
  const rates = { receivedPerSecond: rateOf("received"), settledPerSecond: rateOf("settled") };
  return { ...pulse, ...rates, attention, workers };
}
