/**
 * The times on which safety rests: why no two workers ever call a handler for the same account at once.
 *
 * A worker trusts its lease from the moment it *sent* its last renewal that was answered; the others count from the moment the
 * database *wrote* it, which is later. So the worker always stops first, whichever clock the others go by:
 *
 *     renewal sent, then written (0)
 *     |--- renewalMs 400 ----> the next renewal is sent
 *     |--- trustedMs 1000 ----------> the worker starts no handler any more (sooner under a short lease: leaseShare)
 *     |--- lifelessMs 1200 ------------> others may take its accounts, if its sign of life has ended
 *     |--- silentMs 2500 ----------------------------> the renewal has failed: handlers that run are told to stop
 *     |--- vanishedMs 4000 ----------------------------------------> the server ends the sign of life of a silent worker
 *     |--- lease (10000) -----------------------------------------------------…---> others may take its accounts in any case
 *
 * The sign of life is an advisory lock on a connection of the worker's own. The worker does not hear in time that it has ended
 * when the network holds that back, so it never trusts its lease for longer because of it.
 *
 * A handler that is running when its lease is lost is told to stop, and what it settles is refused by the epoch.
 */
export interface LeaseTimes {
  /** Between two renewals of a worker's lease. */
  readonly renewalMs: number;
  /** Between two tries to reach a database that is away. */
  readonly retryMs: number;
  /** A worker starts handlers for this long after a renewal was sent that was answered. */
  readonly trustedMs: number;
  /** A worker whose sign of life has ended, and that has not renewed its lease for this long, is gone. */
  readonly lifelessMs: number;
  /** A renewal that is not answered within this time has failed. */
  readonly silentMs: number;
  /** The server ends the connection of a client that has sent nothing for this long. */
  readonly vanishedMs: number;
  /** A worker starts handlers for no longer than this share of its lease. */
  readonly leaseShare: number;
  /** The shortest lease that a setting may ask for. */
  readonly leaseMsMin: number;
  /** A worker that was cut off judges whether others are gone only after this long: they may be reconnecting too. */
  readonly judgingMs: number;
  /** The longest a worker's statement runs on the server. */
  readonly statementMs: number;
  /** For this long after something went wrong every pass sweeps for what a statement of then may have left. */
  readonly troubledMs: number;
  /** A process whose event loop is stuck for this many leases ends itself. */
  readonly stuckLeases: number;
}

/** What safety needs, each with the reason. */
const RULES: readonly { readonly holds: (times: LeaseTimes) => boolean; readonly rule: string }[] = [
  {
    rule: "trustedMs < lifelessMs: a worker starts nothing more before others may take its accounts",
    holds: (times) => times.trustedMs < times.lifelessMs,
  },
  {
    rule: "silentMs < vanishedMs: a worker that is cut off tells its handlers to stop before the server ends its sign of life",
    holds: (times) => times.silentMs < times.vanishedMs,
  },
  {
    rule: "leaseShare < 1: a worker stops before its lease expires, also where clocks run at different speeds",
    holds: (times) => times.leaseShare < 1,
  },
  {
    rule: "lifelessMs < judgingMs: whoever was cut off as well has renewed its lease before it is judged",
    holds: (times) => times.lifelessMs < times.judgingMs,
  },
  {
    rule: "statementMs < troubledMs: a claim that nobody waits for any more is swept after it may have committed",
    holds: (times) => times.statementMs < times.troubledMs,
  },
  {
    rule: "renewalMs + retryMs < trustedMs: one failed renewal stops nobody",
    holds: (times) => times.renewalMs + times.retryMs < times.trustedMs,
  },
  {
    rule: "renewalMs + retryMs < leaseShare x leaseMsMin: nor under the shortest lease",
    holds: (times) => times.renewalMs + times.retryMs < times.leaseShare * times.leaseMsMin,
  },
  {
    rule: "stuckLeases > 1: a process that ends itself has lost its lease before",
    holds: (times) => times.stuckLeases > 1,
  },
];

/** The times of every worker. Recovery bounds in the docs are sums of these. */
export const LEASE_TIMES: LeaseTimes = checkLeaseTimes({
  renewalMs: 400,
  retryMs: 200,
  trustedMs: 1_000,
  lifelessMs: 1_200,
  silentMs: 2_500,
  vanishedMs: 4_000,
  leaseShare: 0.75,
  leaseMsMin: 1_000,
  judgingMs: 1_500,
  statementMs: 8_000,
  troubledMs: 10_000,
  stuckLeases: 3,
});

/** Returns the times when they are safe. @throws Error with the rule that they break */
export function checkLeaseTimes(times: LeaseTimes): LeaseTimes {
  for (const { rule, holds } of RULES) {
    if (!holds(times)) throw new Error(`lease times are not safe: ${rule}`);
  }
  return times;
}
