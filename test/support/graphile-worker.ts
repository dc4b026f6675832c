/**
 * graphile-worker by itself, without Inturn: what the probes of its behaviour are made with. One task, `probe`, whose
 * payload is `{n}`.
 */
import { EventEmitter } from "node:events";
import { Logger, type Runner, run, runTaskListOnce, type WorkerEvents, WorkerPreset } from "graphile-worker";
import pg from "pg";
import type { TestDatabase } from "./database.ts";
import { until } from "./until.ts";

/** A poll interval that no test lives to see the end of. */
const HOUR_MS = 3_600_000;

/** A row of its jobs table. */
export interface JobRow {
  readonly n: number;
  readonly key: string | null;
  readonly attempts: number;
  readonly max_attempts: number;
  readonly locked_by: string | null;
  readonly last_error: string | null;
}

/** What a probe does with a job. */
export type ProbeTask = (n: number) => Promise<void> | void;

/** A logger that says nothing. */
export const SILENT: Logger = new Logger(() => () => undefined);

/** Adds the job `{n}`, in a transaction of its own, so that a later call's job is due later. Returns its row's id, or null. */
export async function addJob(
  db: TestDatabase,
  n: number,
  options: { key?: string; queue?: string; task?: string; runIn?: string } = {},
): Promise<number | null> {
  const [job] = await db.query<{ id: number | null }>(
    `select id from graphile_worker.add_job($1, json_build_object('n', $2::integer),
      job_key => $3, queue_name => $4, run_at => clock_timestamp() + $5::interval)`,
    [options.task ?? "probe", n, options.key ?? null, options.queue ?? null, options.runIn ?? null],
  );
  return job?.id ?? null;
}

/** Every row of its jobs table. */
export async function readJobs(db: TestDatabase): Promise<JobRow[]> {
  return await db.query<JobRow>(
    `select (payload ->> 'n')::integer as n, key, attempts, max_attempts, locked_by, last_error
     from graphile_worker._private_jobs order by id`,
  );
}

/** The n of every job that is locked. */
export async function readLocked(db: TestDatabase): Promise<number[]> {
  return (await readJobs(db)).filter((job) => job.locked_by !== null).map((job) => job.n);
}

/** A connection with no settings of ours, as graphile-worker's own are. */
export async function withPlainClient(db: TestDatabase, body: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  const pool = new pg.Pool({ connectionString: db.url, max: 1 });
  pool.on("error", () => undefined);
  const client = await pool.connect();
  client.on("error", () => undefined);
  try {
    await body(client);
  } finally {
    client.release(true);
    await pool.end();
  }
}

/**
 * Frees stale locks, then runs jobs over this one connection until there are none. Every statement of graphile-worker goes
 * over it, one after the other: after a `begin`, whatever the fetch has locked is still locked while the task runs.
 */
export async function runAll(
  client: pg.PoolClient,
  task: ProbeTask,
  options: GraphileConfig.WorkerOptions = {},
): Promise<void> {
  const serial = oneByOne(client);
  await runTaskListOnce(
    { preset: { extends: [WorkerPreset], worker: { ...options, logger: SILENT } }, noHandleSignals: true },
    { probe: async (payload) => await task((payload as { n: number }).n) },
    serial.client,
  );
  // Completions are not waited for.
  await serial.idle();
}

/** pg 9 will refuse a query on a connection that still works on another one; graphile-worker does not wait there. */
function oneByOne(client: pg.PoolClient): { client: pg.PoolClient; idle: () => Promise<unknown> } {
  let last: Promise<unknown> = Promise.resolve();
  const query = async (config: pg.QueryConfig) => {
    const answer = last.then(async () => await client.query(config));
    last = answer.catch(() => undefined);
    return await answer;
  };
  return { client: { query } as unknown as pg.PoolClient, idle: async () => await last };
}

/** A runner in this process, and what its events told. */
export interface ProbeRunner {
  readonly runner: Runner;
  readonly events: WorkerEvents;
  /** As `pool:create` named it. */
  readonly poolId: string;
  /** How many jobs each fetch for the local queue brought. */
  readonly fetched: number[];
  /** The action of each `pool:fatalError`. */
  readonly fatal: string[];
  /** What became of its promise so far. */
  readonly end: () => "pending" | "resolved" | "rejected";
}

const runners = new Set<Runner>();

/** Stops what a test has left running: after a failed assertion nobody else would, and the process would never end. */
export function stopRunners(): void {
  for (const runner of runners) runner.stop().catch(() => undefined);
}

/** Starts a runner that polls once an hour, unless told otherwise, with batched completions and a local queue, as Inturn's is. */
export async function startRunner(
  db: TestDatabase,
  task: ProbeTask,
  options: GraphileConfig.WorkerOptions = {},
  parts: { plugins?: GraphileConfig.Plugin[]; pgPool?: pg.Pool } = {},
): Promise<ProbeRunner> {
  const events: WorkerEvents = new EventEmitter();
  const fetched: number[] = [];
  const fatal: string[] = [];
  let poolId = "";
  let end: "pending" | "resolved" | "rejected" = "pending";
  events.on("pool:create", ({ workerPool }) => (poolId = workerPool.id));
  events.on("localQueue:getJobs:complete", ({ jobs }) => fetched.push(jobs.length));
  events.on("pool:fatalError", ({ action }) => fatal.push(action));
  const runner = await run({
    preset: {
      extends: [WorkerPreset],
      plugins: parts.plugins ?? [],
      worker: {
        connectionString: db.url,
        pollInterval: HOUR_MS,
        localQueue: { size: 10 },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
        events,
        logger: SILENT,
        ...options,
      },
    },
    ...(parts.pgPool !== undefined && { pgPool: parts.pgPool }),
    noHandleSignals: true,
    parsedCronItems: [],
    taskList: { probe: async (payload) => await task((payload as { n: number }).n) },
  });
  runners.add(runner);
  runner.promise.then(
    () => (end = "resolved"),
    () => (end = "rejected"),
  );
  return { runner, events, poolId, fetched, fatal, end: () => end };
}

/** Waits until a runner listens for notifications, on another connection than `not`. Returns its backend's pid. */
export async function untilListening(db: TestDatabase, not = 0): Promise<number> {
  return await until("the runner listens", async () => {
    const rows = await db.query<{ pid: number }>(
      `select pid from pg_stat_activity where datname = current_database()
       and query like 'LISTEN "jobs:insert"%' and state = 'idle' and pid <> $1`,
      [not],
    );
    return rows[0]?.pid;
  });
}

/** A pool for a runner, whose listening connection can be taken away for a while. */
export class ProbePool extends pg.Pool {
  #mayListen: Promise<void> = Promise.resolve();

  constructor(url: string) {
    super({ connectionString: url });
    this.on("error", () => undefined);
    this.on("connect", (client) => client.on("error", () => undefined));
    const connect = this.connect.bind(this);
    // Only the listener asks with a callback.
    const gated = (listener?: Parameters<typeof connect>[0]) =>
      listener === undefined ? connect() : void this.#mayListen.then(() => connect(listener));
    this.connect = gated as typeof this.connect;
  }

  /** Kills the listening connection, and gives the runner no other one while `body` runs. Returns the pid of what it killed. */
  async whileDeaf(db: TestDatabase, body: () => Promise<void>): Promise<number> {
    const pid = await untilListening(db);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#mayListen = promise;
    await db.query("select pg_terminate_backend($1, 10000)", [pid]);
    await body();
    resolve();
    return pid;
  }
}

/** Waits until this backend waits for somebody else's lock. */
export async function untilBlocked(db: TestDatabase, pid: number): Promise<void> {
  await until("it waits for a lock", async () => {
    const rows = await db.query<{ blocked: boolean }>("select cardinality(pg_blocking_pids($1)) > 0 as blocked", [pid]);
    return rows[0]?.blocked === true;
  });
}

/** Makes the first completion of a job fail with this SQLSTATE, and counts them all. Returns how to read the count. */
export async function failFirstCompletion(db: TestDatabase, sqlState: string): Promise<() => Promise<number>> {
  await db.query("create sequence public.completions minvalue 0");
  await db.query("select setval('public.completions', 0)");
  await db.query(`create function public.fail_first() returns trigger language plpgsql as $$ begin
    if nextval('public.completions') = 1 then raise exception 'as told' using errcode = '${sqlState}'; end if; return null;
  end $$`);
  await db.query(`create trigger fail_first before delete on graphile_worker._private_jobs
    for each statement execute function public.fail_first()`);
  return async () => {
    const rows = await db.query<{ last_value: number }>("select last_value from public.completions");
    return rows[0]?.last_value ?? 0;
  };
}
