/**
 * `npm run bench:profile`: what an event costs, part by part: CPU of the load generator, the API, the workers and PostgreSQL, bytes of
 * WAL, versions of account rows and how many of them were HOT. A rate says how busy the machine was; a cost does not. With `--statements`
 * the last round also says where PostgreSQL's time went. Linux only.
 */
import { parseArgs } from "node:util";
import type pg from "pg";
import { runLoad } from "../src/demo/load.ts";
import { createWorkload } from "../src/domain/workload.ts";
import { startFleet } from "../src/service/fleet.ts";
import { readCpuSeconds } from "./cpu.ts";
import { openCounting, printStatements, resetStatements } from "./statements.ts";
import { ACCOUNTS, appendBacklog, median, print, SEED, settingsFor, untilSettled, WAYS_TO_DRAIN } from "./support.ts";

const { values: flags } = parseArgs({
  options: {
    only: { type: "string", default: "drain,drain-batch,drain-ahead,end-to-end,end-to-end-1,ingest-500,ingest-1" },
    iterations: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
    statements: { type: "boolean", default: false },
  },
});

/** What goes on while it is measured. */
interface Profiled {
  readonly events: number;
  readonly workers: number;
  /** Waits before the workers start. */
  readonly backlog: boolean;
  /** How the load is sent; nothing is when there is a backlog. */
  readonly sends?: { readonly batch: number; readonly connections: number };
}

const SCENARIOS: Readonly<Record<string, Profiled>> = {
  drain: { events: 100_000, workers: 2, backlog: true },
  "drain-batch": { events: 200_000, workers: 2, backlog: true },
  "drain-ahead": { events: 200_000, workers: 2, backlog: true },
  "end-to-end": { events: 100_000, workers: 2, backlog: false, sends: { batch: 500, connections: 4 } },
  "end-to-end-1": { events: 30_000, workers: 2, backlog: false, sends: { batch: 1, connections: 64 } },
  "ingest-500": { events: 100_000, workers: 0, backlog: false, sends: { batch: 500, connections: 4 } },
  "ingest-1": { events: 40_000, workers: 0, backlog: false, sends: { batch: 1, connections: 64 } },
};

/** Of one event; CPU in microseconds. */
interface Cost {
  readonly load: number;
  readonly api: number;
  readonly workers: number;
  readonly postgres: number;
  readonly walBytes: number;
  readonly accountVersions: number;
  readonly hotShare: number;
  readonly eventsPerSecond: number;
}

const scratch = await openCounting(flags.statements);
try {
  const costs = new Map<string, Cost[]>(flags.only.split(",").map((name) => [name, []]));
  const rounds = Number(flags.iterations);
  for (let i = 1; i <= rounds; i += 1) {
    for (const [name, list] of costs) {
      const profiled = SCENARIOS[name];
      if (profiled === undefined)
        throw new Error(`there is no ${name}; there are ${Object.keys(SCENARIOS).join(", ")}`);
      list.push(await profile(name, profiled, flags.statements && i === rounds));
    }
  }
  report(costs);
} finally {
  await scratch.release();
}

async function profile(
  name: string,
  { events, workers, backlog, sends }: Profiled,
  byStatement: boolean,
): Promise<Cost> {
  await scratch.recreate();
  const client = await scratch.connect();
  if (backlog) await appendBacklog(client, createWorkload({ events, accounts: ACCOUNTS, seed: SEED }).events);
  const settings = settingsFor(scratch.url, WAYS_TO_DRAIN[name]);
  const fleet = await startFleet({ settings, databaseUrl: scratch.url, workers, say: () => undefined });
  try {
    // Starting is not part of it: a drain has begun by now, and what it has settled does not count.
    if (byStatement) await resetStatements(client);
    const before = await read(client, workers);
    if (sends !== undefined) await runLoad({ url: fleet.url, accounts: ACCOUNTS, seed: SEED, events, ...sends });
    if (workers > 0) await untilSettled(client, events);
    const after = await read(client, workers);
    const done = after.done - before.done;
    if (byStatement) await printStatements(client, name, done);
    const microseconds = (part: "load" | "api" | "workers" | "postgres") => (1e6 * (after[part] - before[part])) / done;
    const updates = after.updates - before.updates;
    return {
      load: microseconds("load"),
      api: microseconds("api"),
      workers: microseconds("workers"),
      postgres: microseconds("postgres"),
      walBytes: (after.wal - before.wal) / done,
      accountVersions: updates / done,
      hotShare: (after.hot - before.hot) / updates,
      eventsPerSecond: (1_000 * done) / (after.ms - before.ms),
    };
  } finally {
    await fleet.stop();
    await client.end();
  }
}

async function read(client: pg.Client, workers: number) {
  const { rows } = await client.query<Record<"done" | "wal" | "updates" | "hot", string>>(
    `select coalesce(sum(${workers > 0 ? "processed_seq" : "last_seq"}), 0) as done, pg_current_wal_lsn() - '0/0' as wal,
       pg_stat_get_tuples_updated('inturn.accounts'::regclass) as updates,
       pg_stat_get_tuples_hot_updated('inturn.accounts'::regclass) as hot
     from inturn.accounts`,
  );
  const ms = performance.now();
  const { done, wal, updates, hot } = rows[0] ?? { done: 0, wal: 0, updates: 0, hot: 0 };
  const numbers = { done: Number(done), wal: Number(wal), updates: Number(updates), hot: Number(hot) };
  return { ms, ...numbers, ...(await readCpuSeconds(client)) };
}

function report(costs: ReadonlyMap<string, readonly Cost[]>): void {
  const rows = [...costs].map(([scenario, list]) => {
    const of = (key: keyof Cost) => median(list.map((cost) => cost[key]));
    return {
      scenario,
      load: of("load"),
      api: of("api"),
      workers: of("workers"),
      postgres: of("postgres"),
      walBytes: of("walBytes"),
      accountVersions: of("accountVersions"),
      hotShare: of("hotShare"),
      eventsPerSecond: of("eventsPerSecond"),
    };
  });
  if (flags.json) return print(JSON.stringify(rows));
  print("of one event: CPU in µs; medians");
  print("scenario      load   API  workers  PostgreSQL  WAL bytes  account versions  HOT   events/s");
  for (const row of rows) {
    const cells = [
      row.scenario.padEnd(12),
      row.load.toFixed(1).padStart(5),
      row.api.toFixed(1).padStart(5),
      row.workers.toFixed(1).padStart(8),
      row.postgres.toFixed(1).padStart(11),
      row.walBytes.toFixed(0).padStart(10),
      row.accountVersions.toFixed(2).padStart(17),
      row.hotShare.toFixed(2).padStart(5),
      row.eventsPerSecond.toFixed(0).padStart(10),
    ];
    print(cells.join(" "));
  }
}
