import { monotonicMs } from "./clock.ts";
import type { History } from "./history.ts";
import type { FaultServer } from "./server.ts";

/** What the views say. */
export type Store = Pick<History, "events" | "accounts" | "violations" | "counters">;

/** Reads the views of a run's databases; times are mapped to CLOCK_MONOTONIC. */
export async function collectStores(
  servers: readonly FaultServer[],
  database: string,
  counts: boolean,
): Promise<Store> {
  const offsetMs = measureClockOffset();
  const stores = await Promise.all(servers.map((server) => collectStore(server, database, offsetMs)));
  return {
    events: stores.flatMap(({ events }) => events),
    accounts: stores.flatMap(({ accounts }) => accounts),
    violations: stores.flatMap(({ violations }) => violations),
    counters: counts ? await readCounters(servers, database) : undefined,
  };
}

async function collectStore(server: FaultServer, database: string, offsetMs: number): Promise<Omit<Store, "counters">> {
  const events = await server.query<{
    account: string;
    seq: number;
    id: string | null;
    n: number;
    state: string;
    processedMs: number | null;
  }>(
    `select account_id as account, seq::float8, event_id as id, (data ->> 'n')::float8 as n, state,
       (extract(epoch from processed_at) * 1000)::float8 as "processedMs"
     from inturn.event_results`,
    [],
    database,
  );
  const accounts = await server.query<{ account: string; state: string; pending: number }>(
    "select account_id as account, state, pending::float8 from inturn.account_results",
    [],
    database,
  );
  const violations = await server.query<History["violations"][number]>(
    "select account_id as account, seq::float8, kind, detail from inturn.order_violations",
    [],
    database,
  );
  return {
    events: events.map((event) => ({
      ...event,
      processedMs: event.processedMs === null ? undefined : event.processedMs + offsetMs,
    })),
    accounts,
    violations,
  };
}

/** Of an account that was moved, what it counted in each cell. */
async function readCounters(servers: readonly FaultServer[], database: string): Promise<Record<string, number>> {
  const counters: Record<string, number> = {};
  for (const server of servers) {
    const rows = await server.query<{ account: string; n: number }>(
      "select account, n::float8 from public.counters",
      [],
      database,
    );
    for (const { account, n } of rows) counters[account] = (counters[account] ?? 0) + n;
  }
  return counters;
}

/** What is to be added to the wall clock, which is the database's on this machine, in ms. */
function measureClockOffset(): number {
  // It ticks once a ms: right after a tick it is exact.
  const before = Date.now();
  let now = before;
  while (now === before) now = Date.now();
  return monotonicMs() - now;
}
