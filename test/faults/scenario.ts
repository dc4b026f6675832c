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
  /** Whether it has three cells, each with a PostgreSQL of its own. */
  readonly hasCells?: boolean;
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

/** A backlog at one stroke, from SQL: so many events for each account. */
export async function appendBacklog(
  bench: Bench,
  backlog: { accounts: readonly string[]; eventsPerAccount: number; msMax: number },
): Promise<void> {
  const { accounts, eventsPerAccount, msMax } = backlog;
  const events = accounts.flatMap((account) =>
    Array.from({ length: eventsPerAccount }, (_, i) => ({ account, n: i + 1, id: `${account}-${i + 1}` })),
  );
  const stored = await bench.query<{ seq: number }>(
    "select seq::float8 from inturn.append_events($1::text[], $2::json[], null, $3::text[])",
    [
      events.map(({ account }) => account),
      events.map(({ n }) => JSON.stringify({ n, ms: bench.random.int(0, msMax) })),
      events.map(({ id }) => id),
    ],
  );
  bench.clients.note(events, stored);
}
