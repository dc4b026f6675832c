import type { Bench } from "./bench.ts";
import type { Behaviour } from "./client.ts";
import type { Random } from "./random.ts";
import type { ServerOptions } from "./server.ts";

/** One fault, and what must hold while it is made and after it is healed. */
export interface Scenario {
  readonly name: string;
  /** Its number in the list of faults. */
  readonly fault: number;
  /** What is expected, in a few words. */
  readonly promise: string;
  /** Whether it starts from a database that is not migrated. */
  readonly startsEmpty?: boolean;
  /** Why it cannot be run here; undefined when it can. */
  readonly whyNot?: () => Promise<string | undefined>;
  /** A PostgreSQL of its own instead of its place's. */
  readonly ownServer?: () => Promise<ServerOptions & { cleanUp: () => Promise<void> }>;
  /** Starts the parts and the traffic, and makes the fault. Healing, draining and judging come after it. */
  run(bench: Bench): Promise<void>;
}

/** Account names: a prefix and a number. */
export function accountsNamed(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i + 1}`);
}

/** Common traffic: a dozen accounts with 300 short events, sent over about four seconds. */
export function sendCommonTraffic(bench: Bench, overMs = 4_000): void {
  bench.clients.send({ accounts: accountsNamed("a", 12), eventsPerAccount: 25, overMs });
}

/** Slow traffic: there is always something in hand, and every other handler is deaf to being told to stop. */
export function sendSlowTraffic(
  bench: Bench,
  options: { eventsPerAccount: number; overMs: number; mayBeDeaf?: boolean },
): void {
  const { eventsPerAccount, overMs, mayBeDeaf = true } = options;
  const behaviourOf = (_account: string, _n: number, random: Random): Omit<Behaviour, "n"> => ({
    ms: random.int(50, 400),
    deaf: random.oneIn(2) && mayBeDeaf,
  });
  bench.clients.send({ accounts: accountsNamed("a", 12), eventsPerAccount, overMs, behaviourOf });
}
