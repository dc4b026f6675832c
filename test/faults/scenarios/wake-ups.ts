/** Wake-ups are only hints: they get lost, doubled, locked by the dead, or come all at once. */
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../../support/until.ts";
import { accountsNamed, appendBacklog, type Scenario, sendCommonTraffic } from "../scenario.ts";

/** A wake-up that got lost is made good within this time. */
const HEALED_MS_MAX = 2_000;

/** graphile-worker's jobs are deleted, and added a hundred times. */
export const wakeUps: Scenario = {
  name: "wake-ups",
  fault: 23,
  promise: "a lost wake-up is made good within 2 s; doubled ones do nothing twice",
  async run(bench) {
    bench.demands.idleMsMax = HEALED_MS_MAX;
    await bench.start({ servers: 1, workers: 2 });
    sendCommonTraffic(bench, 5 * HEALED_MS_MAX);
    for (let i = 0; i < 5; i++) {
      // Each loss is to be made good before the next one, which would take what has just been woken.
      const healed = sleep(HEALED_MS_MAX);
      for (let lost = 0; lost < 5; lost++) await bench.query("delete from graphile_worker._private_jobs");
      for (let doubled = 0; doubled < 2; doubled++) {
        await sleep(bench.random.int(50, 400));
        await bench.query(
          `select graphile_worker.add_job('inturn_turn', json_build_object('accountId', $1::text)) from generate_series(1, 100)`,
          [bench.random.pick(accountsNamed("a", 12))],
        );
      }
      await healed;
    }
  },
};

/** graphile-worker's tables are emptied, its list of tasks included, while workers run: a restore without them does the same. */
export const emptiedQueue: Scenario = {
  name: "emptied-queue",
  fault: 34,
  promise: "every account goes on within 5 s",
  async run(bench) {
    bench.demands.idleMsMax = 5_000;
    await bench.start({ servers: 1, workers: 2 });
    sendCommonTraffic(bench, 8_000);
    await sleep(bench.random.int(500, 2_000));
    await bench.query("truncate graphile_worker._private_jobs, graphile_worker._private_tasks cascade");
  },
};

/** Before any worker starts, a pool that died long ago has locked the jobs. */
export const deadPool: Scenario = {
  name: "dead-pool",
  fault: 24,
  promise: "the jobs are made good although somebody dead has locked them",
  async run(bench) {
    await bench.start({ servers: 1 });
    sendCommonTraffic(bench, 1_000);
    await sleep(700);
    await bench.query(
      `update graphile_worker._private_jobs set locked_by = 'worker-of-the-dead', attempts = 1,
         locked_at = clock_timestamp() - $1 * interval '1 second'`,
      [bench.random.pick([0, 0, 30, 3_600])],
    );
    await bench.start({ workers: 2 });
    bench.expectRecovery(8_000);
  },
};

/** The connection on which a worker hears of new jobs is terminated, again and again. */
export const deafListener: Scenario = {
  name: "listen-killed",
  fault: 25,
  promise: "slower by the poll interval at most",
  async run(bench) {
    bench.demands.idleMsMax = 2_000;
    await bench.start({ servers: 1, workers: 2 });
    sendCommonTraffic(bench, 4_000);
    for (let i = 0; i < 10; i++) {
      await sleep(bench.random.int(100, 500));
      await bench.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query ilike 'listen%'",
      );
    }
  },
};

/** Every account gets its event at once, and all workers start at once. */
export const herd: Scenario = {
  name: "herd",
  fault: 22,
  promise: "connections stay bounded; the slowest one in a hundred waits 20 s at most",
  async run(bench) {
    const [accounts, workers] = bench.isFull ? [10_000, 20] : [2_000, 5];
    bench.demands.drainMsMax = 60_000;
    await bench.start({ servers: 1 });
    await appendBacklog(bench, { accounts: accountsNamed("h", accounts), eventsPerAccount: 1, msMax: 10 });
    await bench.start({ workers }, { environment: { INTURN_CONCURRENCY: "200" } });
    await sleep(1_000);
    const [row] = await bench.query<{ connections: number }>(
      "select count(*)::float8 as connections from pg_stat_activity where usename <> 'postgres'",
    );
    const connectionsMax = 20 * (workers + 1);
    await until(
      "everything is handled",
      async () => (await bench.query("select from inturn.accounts where state <> 'idle' limit 1")).length === 0,
      bench.isFull ? 60_000 : 20_000,
    );
    if ((row?.connections ?? 0) > connectionsMax)
      throw new Error(`${row?.connections} connections for ${workers} workers`);
  },
};
