/** The link between a process and the database fails. */
import { execFile, spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { Bench } from "../bench.ts";
import { monotonicMs } from "../clock.ts";
import { onExit } from "../exit.ts";
import type { ProxyMode } from "../proxy.ts";
import { type Scenario, sendCommonTraffic, sendSlowTraffic } from "../scenario.ts";
import { CUTTABLE_HOST } from "../server.ts";

const run = promisify(execFile);

/** From the cut to the next call elsewhere. */
const TAKEOVER_MS_MAX = 6_000;

/** So long that only the end of the sign of life can explain a takeover. */
const LONG_LEASE = { INTURN_LEASE_MS: "60000" };

/** The kernel drops every packet between one worker and the database, both ways. */
export const linkDown: Scenario = {
  name: "link-down",
  fault: 12,
  promise: "a worker that is cut off is replaced within 6 s, and what it does afterwards changes nothing",
  whyNot: async () =>
    await run("iptables", ["-L", "INPUT", "-n"]).then(
      () => undefined,
      () => "iptables does not work here (it takes root)",
    ),
  async run(bench) {
    const [[victim]] = await Promise.all([
      bench.start({ workers: 1 }, { cuttable: true, environment: LONG_LEASE }),
      bench.start({ servers: 1, workers: 1 }, { environment: LONG_LEASE }),
    ]);
    if (victim === undefined) return;
    sendSlowTraffic(bench, { eventsPerAccount: 14, overMs: 3_000 });
    await sleep(bench.random.int(200, 800));
    await bench.untilInHand((call) => call.pid === victim.pid);
    const fromMs = monotonicMs();
    await setLink(bench, "down");
    bench.expectTakeover(victim, TAKEOVER_MS_MAX);
    await sleep(bench.isFull ? 20_000 : bench.random.int(5_000, 8_000));
    await setLink(bench, "up");
    bench.noteAbsence(victim, fromMs);
  },
};

/** Links that are down: whoever ends the suite half-way must not leave them so. */
const down = new Set<string>();
onExit(() => {
  for (const port of down) for (const rule of rulesOf(port)) spawnSync("iptables", ["-w", "-D", ...rule]);
});

function rulesOf(port: string): string[][] {
  return [
    ["INPUT", "-d", CUTTABLE_HOST, "-p", "tcp", "--dport", port, "-j", "DROP"],
    ["INPUT", "-s", CUTTABLE_HOST, "-p", "tcp", "--sport", port, "-j", "DROP"],
  ];
}

async function setLink(bench: Bench, state: "up" | "down"): Promise<void> {
  const port = String(bench.server.port);
  const verb = state === "down" ? "-I" : "-D";
  down[state === "down" ? "add" : "delete"](port);
  if (state === "down") bench.onHeal(() => setLink(bench, "up"));
  // Healing twice is no harm: then the rule is not there any more.
  for (const rule of rulesOf(port)) await run("iptables", ["-w", verb, ...rule]).catch(() => undefined);
}

/** Nothing passes between one worker and the database, or only the requests do, and in the end everything arrives late. */
export const halfOpen: Scenario = {
  name: "half-open",
  fault: 13,
  promise: "queries time out, their clients are destroyed; late requests change nothing",
  async run(bench) {
    const parts = await bench.start({ servers: 2, workers: 2 });
    sendSlowTraffic(bench, { eventsPerAccount: 14, overMs: 3_000 });
    await sleep(bench.random.int(200, 800));
    const victim = bench.random.pick(bench.workers);
    const kind = bench.random.pick(["half-open", "half-open", "black-hole"] as const);
    const server = bench.random.pick(parts.filter((part) => part.kind === "serve"));
    await bench.untilInHand((call) => call.pid === victim.pid);
    const fromMs = monotonicMs();
    for (const part of [victim, server]) part.proxy.setMode({ kind });
    bench.expectTakeover(victim, TAKEOVER_MS_MAX);
    await sleep(bench.isFull ? 20_000 : bench.random.int(3_000, 5_000));
    if (bench.random.oneIn(2)) for (const part of [victim, server]) part.proxy.reset();
    for (const part of [victim, server]) part.proxy.heal();
    bench.noteAbsence(victim, fromMs);
  },
};

const SLOWNESS: readonly ProxyMode[] = [
  { kind: "delay", leastMs: 0, mostMs: 400 },
  { kind: "trickle", bytes: 1, pauseMs: 0 },
  { kind: "trickle", bytes: 512, pauseMs: 50 },
];

/** Every link is slow, each in another way. */
export const slowLinks: Scenario = {
  name: "slow-links",
  fault: 14,
  promise: "everything is slower; no worker is taken for dead",
  async run(bench) {
    const parts = await bench.start({ servers: 1, workers: 2 }, { environment: { INTURN_LEASE_MS: "10000" } });
    for (const part of parts) part.proxy.setMode(bench.random.pick(SLOWNESS));
    sendCommonTraffic(bench, 2_000);
    await sleep(4_000);
    for (const part of parts)
      if (part.process.output.stdout.includes("lost its accounts")) throw new Error("a worker was taken for dead");
  },
};
