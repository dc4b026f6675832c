/**
 * A seeded stream of events over accounts: the same numbers give the same stream on every machine.
 */

import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";

/** What to generate. */
export interface WorkloadOptions {
  /** How many events in all. */
  readonly events: number;
  /** How many accounts they fall on, each event on one at random. An account may stay without events. */
  readonly accounts: number;
  readonly seed: number;
}

/** One event of a workload. */
export interface WorkloadEvent {
  readonly accountId: string;
  /** Its number among the events of its account: 1, 2, 3, … It travels in the event's data, as the sender's own word on the order. */
  readonly n: number;
}

/** A whole workload. */
export interface Workload {
  readonly events: readonly WorkloadEvent[];
  /** How many events each account gets; accounts without any are left out. */
  readonly eventsByAccount: ReadonlyMap<string, number>;
  /** The number of events of the busiest account. */
  readonly longest: number;
}

/** Generates the workload of these options. */
export function createWorkload(options: WorkloadOptions): Workload {
  const random = xoroshiro128plus(options.seed);
  const digits = String(options.accounts).length;
  const eventsByAccount = new Map<string, number>();
  const events: WorkloadEvent[] = [];
  for (let i = 0; i < options.events; i++) {
    const account = uniformInt(random, 1, options.accounts);
    const accountId = `account-${String(account).padStart(digits, "0")}`;
    const n = (eventsByAccount.get(accountId) ?? 0) + 1;
    eventsByAccount.set(accountId, n);
    events.push({ accountId, n });
  }
  const longest = eventsByAccount.values().reduce((most, count) => Math.max(most, count), 0);
  return { events, eventsByAccount, longest };
}
