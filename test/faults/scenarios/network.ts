/** The link between a process and the database fails. */
import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { Bench } from "../bench.ts";
import { monotonicMs } from "../clock.ts";
import { accountsNamed, type Scenario } from "../scenario.ts";
import { CUTTABLE_HOST } from "../server.ts";

const run = promisify(execFile);

/** From the cut to the next call elsewhere. */
const TAKEOVER_MS_MAX = 6_000;

async function whyNoFirewall(): Promise<string | undefined> {
  return await run("iptables", ["-L", "INPUT", "-n"]).then(
    () => undefined,
    () => "iptables does not work here (it takes root)",
  );
}

/** The kernel drops every packet between one worker and the database, both ways. */
export const linkDown: Scenario = {
  name: "link-down",
  fault: 12,
  promise: "a worker that is cut off is replaced within 6 s, and handles nothing more until it is back",
  whyNot: whyNoFirewall,
  async run(bench) {
    const [[victim]] = await Promise.all([
      bench.start({ workers: 1 }, { cuttable: true }),
      bench.start({ servers: 1, workers: 2 }),
    ]);
    if (victim === undefined) return;
    const behaviourOf = (_account: string, _n: number, random: Bench["random"]) => ({
      ms: random.int(50, 400),
      deaf: random.oneIn(2),
    });
    bench.clients.send({ accounts: accountsNamed("a", 12), eventsPerAccount: 16, overMs: 4_000, behaviourOf });
    await sleep(bench.random.int(300, 1_000));
    await bench.untilInHand((call) => call.pid === victim.pid);
    const fromMs = monotonicMs();
    await setLink(bench, "down");
    bench.expectTakeover(victim, TAKEOVER_MS_MAX);
    await sleep(bench.isFull ? 20_000 : bench.random.int(5_500, 7_000));
    await setLink(bench, "up");
    bench.noteAbsence(victim, fromMs);
  },
};

async function setLink(bench: Bench, state: "up" | "down"): Promise<void> {
  const port = String(bench.server.port);
  const verb = state === "down" ? "-I" : "-D";
  const rules = [
    ["-d", CUTTABLE_HOST, "-p", "tcp", "--dport", port],
    ["-s", CUTTABLE_HOST, "-p", "tcp", "--sport", port],
  ];
  if (state === "down") bench.onHeal(() => setLink(bench, "up"));
  // Healing twice is no harm: then the rule is not there any more.
  for (const rule of rules) await run("iptables", ["-w", verb, "INPUT", ...rule, "-j", "DROP"]).catch(() => undefined);
}
