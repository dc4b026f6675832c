/** The database goes away, comes back, and breaks connections. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Bench } from "../bench.ts";
import type { Scenario } from "../scenario.ts";
import { sendCommonTraffic } from "./processes.ts";

/** After the database is back: reconnecting, a lease, a wake-up. */
const RECOVERY_MS_MAX = 4_000;

/** Random connections of our processes are terminated, ten times a second. */
export const terminateBackends: Scenario = {
  name: "terminate-backends",
  fault: 8,
  promise: "no process ends, nothing gets stuck",
  async run(bench) {
    await bench.start({ servers: 1, workers: 2 });
    sendCommonTraffic(bench);
    const untilMs = performance.now() + (bench.isFull ? 20_000 : 4_000);
    while (performance.now() < untilMs) {
      await terminateOne(bench, "true");
      await sleep(100);
    }
    bench.expectRecovery(RECOVERY_MS_MAX);
  },
};

/** Terminates a random connection that fits the condition. */
export async function terminateOne(bench: Bench, condition: string): Promise<void> {
  await bench.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and usename = 'inturn' and ${condition} order by md5(pid::text || $1) limit 1`,
    [String(bench.random.int(0, 1e9))],
  );
}

/** PostgreSQL crashes and stays away for some seconds. */
export const immediateStop: Scenario = {
  name: "immediate-stop",
  fault: 10,
  promise: "503 meanwhile; everything goes on by itself; nothing that was acknowledged is lost",
  async run(bench) {
    await bench.start({ servers: 2, workers: 2 });
    sendCommonTraffic(bench);
    await sleep(bench.random.int(500, 1_500));
    if (bench.random.oneIn(2)) await bench.server.stop("immediate");
    else await bench.server.kill();
    await sleep(bench.isFull ? bench.random.int(5_000, 30_000) : bench.random.int(500, 4_000));
    await bench.server.start();
    bench.expectRecovery(RECOVERY_MS_MAX);
  },
};

/** The connection breaks around the commit of an append: before it, during it, after it. */
export const lostCommit: Scenario = {
  name: "lost-commit",
  fault: 9,
  promise: "503, and the repeated request is a duplicate of what was stored",
  async run(bench) {
    const parts = await bench.start({ servers: 2, workers: 2 });
    sendCommonTraffic(bench, 3_000);
    const untilMs = performance.now() + 3_000;
    while (performance.now() < untilMs) {
      const part = bench.random.pick(parts);
      const statement =
        part.kind === "serve"
          ? "inturn_append"
          : bench.random.pick(["inturn_claim", "inturn_settle", "inturn_give_back", "inturn_read_pages"]);
      void part.proxy.swallowNext(statement, !bench.random.oneIn(3));
      await sleep(bench.random.int(20, 200));
    }
  },
};
