/** Processes that are killed: at random, at named points, by their own handlers. */
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../../support/until.ts";
import type { Bench, PartOptions } from "../bench.ts";
import { accountsNamed, type Scenario, sendCommonTraffic, sendSlowTraffic } from "../scenario.ts";

/** Workers are killed at random moments, with events in hand, and replaced. */
export const killWorkers: Scenario = {
  name: "kill-worker",
  fault: 1,
  promise: "a killed worker's accounts are in other hands within 2 s",
  async run(bench) {
    await bench.start({ servers: 1, workers: 2 });
    sendSlowTraffic(bench, { eventsPerAccount: 12, overMs: 2_500 });
    await killSome(bench, 2);
  },
};

async function killSome(bench: Bench, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    await sleep(bench.random.int(200, 1_000));
    bench.kill(bench.random.pick(bench.workers), 2_000);
    await bench.startPart("work");
  }
}

const FAIL_POINTS = new URL("../fail-points.ts", import.meta.url).pathname;

/** Where a worker dies; `orphan as` is in the reconciler's statement. */
const WORKER_POINTS = [
  "inturn_claim",
  "inturn_read_pages",
  "inturn_settle",
  "inturn_give_back",
  "inturn_renew_worker_lease",
  "orphan as",
];

const SERVER_POINT = "inturn_append";

/** Each process that starts is killed by itself at one point of its work, and replaced by one that lives. */
export const killAtPoints: Scenario = {
  name: "kill-at-points",
  fault: 2,
  promise: "wherever a process dies between two statements: nothing lost, nothing twice",
  async run(bench) {
    const doomedWorker = () => doomed(bench, bench.random.pick(WORKER_POINTS), bench.random.int(1, 8));
    const [doomedParts] = await Promise.all([
      Promise.all([
        bench.startPart("work", doomedWorker()),
        bench.startPart("work", doomedWorker()),
        bench.startPart("serve", doomed(bench, SERVER_POINT, bench.random.int(1, 15))),
      ]),
      bench.start({ servers: 1, workers: 1 }),
    ]);
    const behaviourOf = (_account: string, _n: number, random: Bench["random"]) => ({
      ms: random.int(0, 150),
      failures: Number(random.oneIn(5)),
    });
    bench.clients.send({ accounts: accountsNamed("a", 12), eventsPerAccount: 16, overMs: 3_000, behaviourOf });
    await Promise.race([Promise.all(doomedParts.map((part) => part.process.ended)), sleep(4_000)]);
    if (!doomedParts.some((part) => part.deathMs !== undefined)) throw new Error("nobody came to the point of dying");
  },
};

function doomed(bench: Bench, statement: string, times: number): PartOptions {
  const moment = bench.random.pick(["before", "during", "after"]);
  return {
    isDoomed: true,
    nodeOptions: `--import=${FAIL_POINTS}`,
    environment: { FAULTS_FAIL_POINT: `${statement}:${moment}:${times}` },
  };
}

/** A handler that allocates until its process dies. */
export const outOfMemory: Scenario = {
  name: "out-of-memory",
  fault: 7,
  promise: "the attempt is counted, the account is blocked when they are used up, the others go on",
  async run(bench) {
    bench.demands.blocked = ["hog"];
    bench.demands.mayExit = true;
    await bench.start({ servers: 1 });
    await bench.start({ workers: 2 }, { isKept: true, nodeOptions: "--max-old-space-size=48" });
    bench.clients.send({
      accounts: ["hog"],
      eventsPerAccount: 1,
      overMs: 0,
      type: "inturn.twice",
      behaviourOf: () => ({ failures: 99, act: "hog" }),
    });
    sendCommonTraffic(bench, 2_000);
    const isBlocked = async () =>
      (await bench.query("select from inturn.accounts where id = 'hog' and state = 'blocked'")).length > 0;
    await until("the attempts are used up", isBlocked);
    // Before it dies it does nothing but collect garbage: it is as good as stopped.
    for (const call of await bench.calls()) {
      const part = bench.parts.find(({ pid }) => pid === call.pid);
      if (call.account === "hog" && part !== undefined) bench.noteAbsence(part, call.startMs, Number.POSITIVE_INFINITY);
    }
  },
};

/** Handlers that end their process, or never let go of it. */
export const deadlyHandlers: Scenario = {
  name: "deadly-handlers",
  fault: 20,
  promise: "process.exit, a stray rejection and an endless loop cost their own account an attempt; the others go on",
  async run(bench) {
    const leaseMs = 1_500;
    bench.demands.mayExit = true;
    await bench.start({ servers: 1 });
    await bench.start({ workers: 2 }, { isKept: true, environment: { INTURN_LEASE_MS: String(leaseMs) } });
    sendCommonTraffic(bench, 3_000);
    const sendDeadly = (act: "exit" | "spin" | "stray-rejection") =>
      bench.clients.send({
        accounts: [act],
        eventsPerAccount: 2,
        overMs: 0,
        behaviourOf: (_account, n) => ({ failures: n === 1 ? 1 : 0, act }),
      });
    sendDeadly("spin");
    const spinning = await bench.untilInHand((call) => call.account === "spin");
    const part = bench.parts.find(({ pid }) => pid === spinning.pid);
    if (part === undefined) return;
    // It hears of nothing any more: until it ends it is as good as stopped.
    bench.noteAbsence(part, spinning.startMs, Number.POSITIVE_INFINITY);
    bench.expectTakeover(part, leaseMs + 1_000, spinning.startMs);
    const end = await Promise.race([part.process.ended, sleep(4 * leaseMs + 2_000, undefined)]);
    if (end === undefined) throw new Error("a process with a stuck event loop did not end itself");
    sendDeadly("exit");
    sendDeadly("stray-rejection");
  },
};

/** Handlers raise a counter in the transaction that settles their event, while workers are killed. */
export const killTransactions: Scenario = {
  name: "kill-transactions",
  fault: 1,
  promise: "what a handler writes in context.transaction happens exactly once",
  async run(bench) {
    await countInTransactions(bench);
    await bench.startPart("work", doomed(bench, "commit", bench.random.int(1, 10)));
    await killSome(bench, 1);
  },
};

/** Makes the counters, starts the parts and sends events that count. */
export async function countInTransactions(bench: Bench): Promise<void> {
  bench.demands.counts = true;
  await bench.query("create table public.counters (account text primary key, n bigint not null)");
  await bench.query("grant all on public.counters to worker");
  await bench.start({ servers: 1, workers: 2 });
  const behaviourOf = (_account: string, _n: number, random: Bench["random"]) => ({
    ms: random.int(0, 150),
    counts: true,
  });
  bench.clients.send({ accounts: accountsNamed("a", 12), eventsPerAccount: 16, overMs: 2_500, behaviourOf });
}
