/** The primary is gone for good, and its standby becomes the primary. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Bench } from "../bench.ts";
import { type Scenario, sendCommonTraffic } from "../scenario.ts";

/** From the promotion to the first event that is accepted, and handled. */
const PROMOTED_MS_MAX = 5_000;

/** What leads to the primary, a proxy or a name, needs some time to notice. */
const NOTICED_MS_MAX = 2_000;

const ownServer = async () => ({ cleanUp: async () => undefined });

/** Commits wait for the standby: what was acknowledged is there. */
export const failover: Scenario = {
  name: "failover",
  fault: 44,
  promise:
    "with a synchronous standby nothing is lost; the first event is handled 5 s after the promotion at the latest",
  ownServer,
  run: async (bench) => await failOver(bench, "crash"),
};

/** The primary goes on, and lets nobody write; no connection to it is broken. */
export const switchover: Scenario = {
  name: "switchover",
  fault: 44,
  promise: "a server that lets nobody write any more is left; nothing is lost",
  ownServer,
  run: async (bench) => await failOver(bench, "read-only"),
};

async function failOver(bench: Bench, how: "crash" | "read-only"): Promise<void> {
  const primary = bench.server;
  const standby = await primary.createStandby({ isSynchronous: true });
  bench.onClose(() => standby.remove());
  await bench.start({ servers: 1, workers: 2 });
  sendCommonTraffic(bench, 5_000);
  await sleep(bench.random.int(500, 2_000));
  if (how === "crash") await primary.kill();
  else await letNobodyWrite(bench);
  await sleep(bench.random.int(0, NOTICED_MS_MAX));
  // A proxy that does not ask who is the primary leads to the standby while it only reads.
  const isEarly = bench.random.oneIn(2);
  if (isEarly) {
    bench.moveTo(standby);
    await sleep(bench.random.int(0, NOTICED_MS_MAX));
  }
  await standby.promote();
  if (!isEarly) bench.moveTo(standby);
  bench.expectRecovery(PROMOTED_MS_MAX);
}

/** The sessions go on, and read. */
async function letNobodyWrite(bench: Bench): Promise<void> {
  await bench.server.query("alter system set default_transaction_read_only = on");
  await bench.server.query("select pg_reload_conf()");
}
