/** Processes that stand still, and processes that are told to end. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Bench, LEASE_MS, type Part } from "../bench.ts";
import { monotonicMs } from "../clock.ts";
import { accountsNamed, appendBacklog, type Scenario, sendCommonTraffic, sendSlowTraffic } from "../scenario.ts";
import { countInTransactions } from "./kills.ts";

/** A stopped process keeps its connections, and with them its sign of life: only its lease tells. */
const TAKEOVER_MS_MAX = LEASE_MS + 1_000;

/** A worker is stopped for two leases with events in hand, and goes on afterwards as if nothing had happened. */
export const stopAndContinue: Scenario = {
  name: "sigstop",
  fault: 3,
  promise: "a stopped worker's accounts are taken over within the lease and a second; its late writes change nothing",
  async run(bench) {
    await bench.start({ servers: 1, workers: 2 });
    sendSlowTraffic(bench, { eventsPerAccount: 12, overMs: 3_000 });
    await stopOne(bench);
  },
};

/** The same in a rush of short events: the worker is stopped between two events of an account rather than in one. */
export const stopInARush: Scenario = {
  name: "sigstop-rush",
  fault: 3,
  promise: "a worker that goes on starts no event of an account that it has lost",
  async run(bench) {
    await bench.start({ servers: 1, workers: 2 });
    await appendBacklog(bench, { accounts: accountsNamed("a", 40), eventsPerAccount: 80, msMax: 3 });
    await sleep(bench.random.int(0, 300));
    const { pid } = await bench.untilInHand(() => true);
    const victim = partOf(bench, pid);
    const fromMs = monotonicMs();
    victim.process.child.kill("SIGSTOP");
    bench.expectTakeover(victim, TAKEOVER_MS_MAX);
    await sleep(LEASE_MS + bench.random.int(500, 2_000));
    victim.process.child.kill("SIGCONT");
    bench.noteAbsence(victim, fromMs);
  },
};

/** The same, with handlers in the middle of transactions. */
export const stopTransactions: Scenario = {
  name: "sigstop-transactions",
  fault: 3,
  promise: "what a stopped handler writes in context.transaction when it goes on is rolled back",
  async run(bench) {
    await countInTransactions(bench);
    await stopOne(bench);
  },
};

async function stopOne(bench: Bench): Promise<void> {
  await sleep(bench.random.int(0, 400));
  // When the stopped one goes on, the second owner is still at it.
  const counts = bench.demands.counts === true;
  const behaviourOf = (_account: string, n: number) =>
    n === 1 ? { ms: 1_500, againMs: 3_500, deaf: true, counts } : { ms: 100, counts };
  bench.clients.send({ accounts: ["contested"], eventsPerAccount: 3, overMs: 0, behaviourOf });
  const { pid } = await bench.untilInHand((call) => call.account === "contested");
  const victim = partOf(bench, pid);
  const fromMs = monotonicMs();
  victim.process.child.kill("SIGSTOP");
  bench.expectTakeover(victim, TAKEOVER_MS_MAX);
  await sleep(2 * LEASE_MS);
  victim.process.child.kill("SIGCONT");
  bench.noteAbsence(victim, fromMs);
}

function partOf(bench: Bench, pid: number): Part {
  const part = bench.workers.find((worker) => worker.pid === pid);
  if (part === undefined) throw new Error(`process ${pid} is no worker of this run`);
  return part;
}

/** A handler keeps its process's event loop busy for two leases. */
export const blockedLoop: Scenario = {
  name: "blocked-loop",
  fault: 4,
  promise: "as a stopped worker: taken over, and what it does afterwards changes nothing",
  async run(bench) {
    // It may notice and end itself: then somebody starts it again.
    bench.demands.mayExit = true;
    await bench.start({ servers: 1 });
    await bench.start({ workers: 3 }, { isKept: true });
    sendSlowTraffic(bench, { eventsPerAccount: 12, overMs: 3_000 });
    const blockMs = 2 * LEASE_MS;
    bench.clients.send({
      accounts: ["blocker"],
      eventsPerAccount: 2,
      overMs: 100,
      behaviourOf: (_account, n) => (n === 1 ? { failures: 1, act: "block", blockMs } : {}),
    });
    const call = await bench.untilInHand(({ account }) => account === "blocker");
    const part = partOf(bench, call.pid);
    bench.expectTakeover(part, TAKEOVER_MS_MAX, call.startMs);
    await sleep(blockMs + 200);
    bench.noteAbsence(part, call.startMs);
  },
};

/** Every worker in turn is told to stop, under load, and replaced by a new one first. */
export const rollingRestart: Scenario = {
  name: "rolling-restart",
  fault: 5,
  promise: "no account is idle for more than a second, nothing is handled twice, every exit code is 0",
  async run(bench) {
    bench.demands.idleMsMax = 1_000;
    await bench.start({ servers: 1, workers: 2 });
    sendSlowTraffic(bench, {
      eventsPerAccount: bench.isFull ? 100 : 18,
      overMs: bench.isFull ? 20_000 : 4_000,
      mayBeDeaf: false,
    });
    for (let i = 0; i < (bench.isFull ? 20 : 3); i++) {
      await sleep(bench.random.int(0, 200));
      const oldest = bench.workers[0];
      await bench.startPart("work");
      const end = oldest === undefined ? 0 : await bench.dismiss(oldest);
      if (end !== 0) throw new Error(`a worker told to stop ended with ${end}`);
    }
    const repeated = (await bench.calls()).filter((call) => call.attempt > 1);
    if (repeated.length > 0) throw new Error(`${repeated.length} events were handed out again although nobody died`);
  },
};

/** Signals in a row, SIGHUP, and a standard output that nobody reads any more. */
export const manySignals: Scenario = {
  name: "many-signals",
  fault: 6,
  promise: "a forced stop gives the leases back; SIGHUP stops in peace; a closed output harms nobody",
  async run(bench) {
    const verbose = { environment: { LOG_LEVEL: "debug", INTURN_SHUTDOWN_MS: "30000" } };
    const [[mute]] = await Promise.all([bench.start({ workers: 3 }, verbose), bench.start({ servers: 1, workers: 1 })]);
    if (mute === undefined) return;
    sendSlowTraffic(bench, { eventsPerAccount: 10, overMs: 2_000, mayBeDeaf: false });
    mute.process.child.stdout?.destroy();
    mute.process.child.stderr?.destroy();
    // Its handlers outlast every patience: only being forced ends it.
    bench.clients.send({
      accounts: ["patient"],
      eventsPerAccount: 2,
      overMs: 0,
      behaviourOf: (_account, n) => ({ ms: n === 1 ? 3_000 : 0 }),
    });
    const { pid } = await bench.untilInHand((call) => call.account === "patient");
    await sleep(bench.random.int(0, 500));
    const forced = bench.workers.find((worker) => worker.process.child.pid === pid);
    const hungUp = bench.workers.find((worker) => worker !== forced && worker !== mute);
    if (forced === undefined || hungUp === undefined) throw new Error(`process ${pid} is no worker of this run`);
    forced.isDismissed = true;
    bench.expectTakeover(forced, 2_000);
    for (let i = 0; i < 5; i++) {
      forced.process.child.kill("SIGTERM");
      await sleep(bench.random.int(0, 50));
    }
    hungUp.isDismissed = true;
    hungUp.process.child.kill("SIGHUP");
    const ends = await Promise.race([Promise.all([forced.process.ended, hungUp.process.ended]), sleep(8_000)]);
    if (JSON.stringify(ends) !== "[1,0]")
      throw new Error(`forced and hung up, they ended with ${JSON.stringify(ends)}, not [1,0]`);
  },
};

/** A handler that takes three leases, and does nothing wrong. */
export const longHandler: Scenario = {
  name: "long-handler",
  fault: 21,
  promise: "the lease is renewed, nobody takes the account over",
  async run(bench) {
    const leaseMs = 1_500;
    await bench.start({ servers: 1, workers: 2 }, { environment: { INTURN_LEASE_MS: String(leaseMs) } });
    sendCommonTraffic(bench, 2_000);
    bench.clients.send({
      accounts: ["long"],
      eventsPerAccount: 2,
      overMs: 0,
      behaviourOf: (_account, n) => ({ ms: n === 1 ? 3 * leaseMs : 0 }),
    });
    await bench.untilInHand((call) => call.account === "long");
    await sleep(3 * leaseMs + 200);
    const calls = (await bench.calls()).filter((call) => call.account === "long" && call.seq === 1);
    if (calls.length !== 1) throw new Error(`the long event was started ${calls.length} times`);
  },
};
