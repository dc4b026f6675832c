/**
 * `npm run bench:peers`: measures what users would pick instead, in turns, each time on an empty database, and prints a table.
 */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { median, openScratch } from "../support.ts";
import { measurePeer } from "./measure.ts";
import type { Peer } from "./peer.ts";
import { PEERS } from "./peers.ts";

const { values: flags } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    iterations: { type: "string", default: "3" },
    /** Of each peer's events, in percent. */
    percent: { type: "string", default: "100" },
    json: { type: "boolean", default: false },
  },
});

const say = (line: string) => process.stderr.write(`${line}\n`);

const scratch = await openScratch({ isEmpty: true });
try {
  const peers = await choose();
  const rounds = new Map<Peer, number[]>(peers.map((peer) => [peer, []]));
  for (let i = 0; i < Number(flags.iterations); i += 1) {
    for (const [peer, rates] of rounds) {
      await scratch.recreate();
      const count = Math.max(1, Math.round((peer.events * Number(flags.percent)) / 100));
      const { events, seconds } = await measurePeer(peer, scratch.url, count);
      say(`${peer.name}: ${events} events in ${seconds.toFixed(2)} s, in order`);
      rates.push(events / seconds);
    }
  }
  await report(rounds);
} finally {
  await scratch.release();
}
process.exit();

async function choose(): Promise<Peer[]> {
  const wanted = flags.only === "" ? PEERS : PEERS.filter(({ name }) => flags.only.split(",").includes(name));
  if (wanted.length === 0) throw new Error(`--only names none of ${PEERS.map(({ name }) => name).join(", ")}`);
  const possible: Peer[] = [];
  for (const peer of wanted) {
    const why = await peer.whyNot?.();
    if (why === undefined) possible.push(peer);
    else say(`skipped ${peer.name}: ${why}`);
  }
  return possible;
}

async function report(rounds: ReadonlyMap<Peer, readonly number[]>): Promise<void> {
  const rows = await Promise.all(
    [...rounds].map(async ([{ name, package: of, what, isEndToEnd }, rates]) => ({
      name,
      version: await versionOf(of),
      eventsPerSecond: Math.round(median(rates)),
      runs: rates.map(Math.round).toSorted((a, b) => a - b),
      isEndToEnd,
      what,
    })),
  );
  if (flags.json) return void process.stdout.write(`${JSON.stringify(rows)}\n`);
  const own = (isEndToEnd: boolean) => rows.find((row) => row.version === "" && row.isEndToEnd === isEndToEnd);
  process.stdout.write("| system | version | events/s | Inturn makes | how |\n| --- | --- | ---: | ---: | --- |\n");
  for (const { name, version, eventsPerSecond, isEndToEnd, what } of rows) {
    const ratio = (own(isEndToEnd)?.eventsPerSecond ?? Number.NaN) / eventsPerSecond;
    const times = version === "" || Number.isNaN(ratio) ? "" : `${ratio.toFixed(ratio < 1 ? 2 : 1)} times`;
    process.stdout.write(`| ${name} | ${version} | ${eventsPerSecond} | ${times} | ${what} |\n`);
  }
}

/** Of an installed package; Inturn is what stands here. */
async function versionOf(name: string): Promise<string> {
  if (name === "inturn") return "";
  if (name === "node") return process.versions.node;
  for (const folder of ["node_modules", "../../node_modules"]) {
    const file = new URL(`${folder}/${name}/package.json`, import.meta.url);
    const text = await readFile(file, "utf8").catch(() => undefined);
    if (text !== undefined) return (JSON.parse(text) as { version: string }).version;
  }
  return "?";
}
