/** An outside system that handlers need goes away and comes back, while other things go wrong. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../../support/until.ts";
import type { Bench } from "../bench.ts";
import { accountsNamed, type Scenario } from "../scenario.ts";

const TYPE = "inturn.target";

const WITH_TARGETS = { environment: { FAULTS_TARGETS: "1" } };

/** After the healing the next probe may be as far away as the outage was long. */
const DRAIN_MS_MAX = 45_000;

/** Takes the outside system away, and gives what brings it back. */
function goAway(bench: Bench): () => void {
  const file = join(bench.witnessFolder, "away");
  writeFileSync(file, "");
  const comeBack = () => rmSync(file, { force: true });
  bench.onHeal(comeBack);
  return comeBack;
}

async function targetState(bench: Bench): Promise<string | undefined> {
  const [row] = await bench.query<{ state: string }>("select state from inturn.targets where name = 'away'");
  return row?.state;
}

/** Events of a dozen accounts need it, those of six others do not. */
function send(bench: Bench, overMs: number): void {
  bench.clients.send({ accounts: accountsNamed("t", 12), eventsPerAccount: 20, overMs, type: TYPE });
  bench.clients.send({ accounts: accountsNamed("a", 6), eventsPerAccount: 20, overMs });
}

/** It is away for a moment, and back for a moment, again and again; workers are killed meanwhile. */
export const flappingTarget: Scenario = {
  name: "flapping-target",
  fault: 36,
  promise: "no account blocks and no attempt is used up, however often an outside system comes and goes",
  async run(bench) {
    bench.demands.drainMsMax = DRAIN_MS_MAX;
    await bench.start({ servers: 1, workers: 2 }, WITH_TARGETS);
    send(bench, 6_000);
    for (let i = 0; i < 3; i++) {
      const comeBack = goAway(bench);
      await sleep(bench.random.int(500, 2_000));
      if (bench.random.oneIn(2)) {
        bench.kill(bench.random.pick(bench.workers), undefined);
        await bench.startPart("work", WITH_TARGETS);
      }
      comeBack();
      await sleep(bench.random.int(500, 2_000));
    }
  },
};

/** It is away for long: workers die during its probes, and the database is restarted. */
export const awayTarget: Scenario = {
  name: "away-target",
  fault: 37,
  promise: "a system that is away is found to be back, whoever dies while it is tried",
  async run(bench) {
    bench.demands.drainMsMax = DRAIN_MS_MAX;
    await bench.start({ servers: 1, workers: 2 }, WITH_TARGETS);
    const comeBack = goAway(bench);
    send(bench, 3_000);
    if (bench.isFull)
      bench.clients.send({ accounts: accountsNamed("many", 2_000), eventsPerAccount: 1, overMs: 5_000, type: TYPE });
    await until("it is found to be away", async () => (await targetState(bench)) === "open", 15_000);
    await until("it is tried", async () => (await targetState(bench)) !== "open", 15_000);
    bench.kill(bench.random.pick(bench.workers), undefined);
    await bench.startPart("work", WITH_TARGETS);
    await sleep(bench.random.int(0, 1_000));
    await bench.server.stop("fast");
    await bench.server.start();
    await sleep(bench.random.int(500, bench.isFull ? 60_000 : 3_000));
    comeBack();
  },
};
