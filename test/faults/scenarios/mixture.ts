/** Everything at once, in a random order. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Bench, Part } from "../bench.ts";
import { monotonicMs } from "../clock.ts";
import { type Scenario, sendSlowTraffic } from "../scenario.ts";
import { terminate } from "./database.ts";
import { countInTransactions } from "./kills.ts";

/** One fault after the other, some while others last. */
export const mixture: Scenario = {
  name: "mixture",
  fault: 29,
  promise: "whatever meets whatever: nothing lost, doubled or out of order, and in the end everything drains",
  async run(bench) {
    await countOrNot(bench);
    const untilMs = performance.now() + (bench.isFull ? 30_000 : 5_000);
    const lasting: Promise<unknown>[] = [];
    while (performance.now() < untilMs) {
      lasting.push(
        bench.random
          .pick(MISHAPS)(bench)
          .catch((error: unknown) => error),
      );
      await sleep(bench.random.int(50, 600));
    }
    const failed = (await Promise.all(lasting)).find((error) => error !== undefined);
    if (failed !== undefined) throw failed as Error;
  },
};

/** Handlers that settle in transactions of their own, or others. */
async function countOrNot(bench: Bench): Promise<void> {
  if (bench.random.oneIn(2)) {
    await countInTransactions(bench);
    return;
  }
  await bench.start({ servers: 2, workers: 2 });
  sendSlowTraffic(bench, { eventsPerAccount: 14, overMs: 4_000 });
}

type Mishap = (bench: Bench) => Promise<void>;

const killOne: Mishap = async (bench) => {
  // While one is being replaced the other is needed.
  if (bench.workers.length < 2) return;
  bench.kill(bench.random.pick(bench.workers), undefined);
  await bench.startPart("work");
};

const stopOne: Mishap = async (bench) => {
  await absent(bench, bench.random.pick([...bench.workers, ...bench.servers]), async (part) => {
    part.process.child.kill("SIGSTOP");
    await sleep(bench.random.int(100, 4_000));
    part.process.child.kill("SIGCONT");
  });
};

const cutOne: Mishap = async (bench) => {
  const kind = bench.random.pick(["black-hole", "half-open"] as const);
  await absent(bench, bench.random.pick([...bench.workers, ...bench.servers]), async (part) => {
    part.proxy.setMode({ kind });
    await sleep(bench.random.int(100, 4_000));
    if (bench.random.oneIn(2)) part.proxy.reset();
    part.proxy.heal();
  });
};

async function absent(bench: Bench, part: Part, fault: (part: Part) => Promise<void>): Promise<void> {
  const fromMs = monotonicMs();
  await fault(part);
  bench.noteAbsence(part, fromMs);
}

const breakSome: Mishap = async (bench) => void bench.random.pick(bench.parts).proxy.reset(bench.random.int(1, 3));

const terminateSome: Mishap = async (bench) => void (await terminate(bench, { most: bench.random.int(1, 8) }));

const swallowOne: Mishap = async (bench) => {
  const statement = bench.random.pick(["inturn_append", "inturn_claim", "inturn_settle", "inturn_give_back", "commit"]);
  void bench.random.pick(bench.parts).proxy.swallowNext(statement, !bench.random.oneIn(3));
};

const loseJobs: Mishap = async (bench) => void (await bench.query("delete from graphile_worker._private_jobs"));

const MISHAPS: readonly Mishap[] = [
  killOne,
  stopOne,
  stopOne,
  cutOne,
  cutOne,
  breakSome,
  terminateSome,
  swallowOne,
  swallowOne,
  loseJobs,
];
