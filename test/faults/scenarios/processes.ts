/** Processes that are killed, stopped, restarted. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Bench } from "../bench.ts";
import { monotonicMs } from "../clock.ts";
import { accountsNamed, type Scenario } from "../scenario.ts";

const LEASE_MS = 2_500;

/** Common traffic: a dozen accounts, sent over about five seconds. */
export function sendCommonTraffic(bench: Bench, overMs = 4_000): void {
  bench.clients.send({ accounts: accountsNamed("a", 12), eventsPerAccount: 25, overMs });
}

/** Workers are killed at random moments, each with events in hand, and replaced. */
export const killWorkers: Scenario = {
  name: "kill-worker",
  fault: 1,
  promise: "a killed worker's accounts are in other hands within 2 s",
  async run(bench) {
    await bench.start({ servers: 1, workers: 3 });
    const behaviourOf = (_account: string, _n: number, random: Bench["random"]) => ({ ms: random.oneIn(4) ? 300 : 10 });
    bench.clients.send({ accounts: accountsNamed("a", 12), eventsPerAccount: 25, overMs: 4_000, behaviourOf });
    for (let i = 0; i < 3; i++) {
      await sleep(bench.random.int(200, 1_500));
      bench.kill(bench.random.pick(bench.workers));
      await bench.startPart("work");
    }
  },
};

/** A worker is stopped for two leases with events in hand, and goes on afterwards as if nothing had happened. */
export const stopAndContinue: Scenario = {
  name: "sigstop",
  fault: 3,
  promise: "a stopped worker's accounts are taken over within the lease and a second; its late writes change nothing",
  async run(bench) {
    await bench.start({ servers: 1, workers: 3 });
    const behaviourOf = (_account: string, _n: number, random: Bench["random"]) => ({
      ms: random.int(50, 400),
      deaf: random.oneIn(2),
    });
    bench.clients.send({ accounts: accountsNamed("a", 12), eventsPerAccount: 12, overMs: 3_000, behaviourOf });
    await sleep(bench.random.int(300, 1_000));
    const victim = bench.random.pick(bench.workers);
    await bench.untilInHand((call) => call.pid === victim.pid);
    const fromMs = monotonicMs();
    victim.process.child.kill("SIGSTOP");
    bench.expectTakeover(victim, LEASE_MS + 1_000);
    await sleep(2 * LEASE_MS);
    victim.process.child.kill("SIGCONT");
    bench.noteAbsence(victim, fromMs);
    await sleep(500);
  },
};
