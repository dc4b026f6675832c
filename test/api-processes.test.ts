/**
 * Several API processes on one port: they take events side by side, count together, and outlive each other.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { test } from "node:test";
import { runLoad } from "../src/demo/load.ts";
import { withDatabase } from "./support/database.ts";
import { runProcess, startProcess, type TestProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

const SKIP = process.platform !== "linux" && "processes share a port on Linux";

/** Enough connections that the system gives some to each of three processes. */
const CONNECTIONS = 60;

/** How many events each process says it has stored, by its number, as one scrape tells. */
async function scrape(url: string): Promise<Record<string, number>> {
  // A connection of its own: which process answers is the system's choice.
  const text = await (await fetch(`${url}/metrics`, { headers: { connection: "close" } })).text();
  const stored = text.matchAll(/^inturn_events_accepted_total\{duplicate="false",process="(\d+)"\} (\d+)$/gm);
  assert.equal(text.match(/^# TYPE inturn_events_accepted_total /gm)?.length, 1);
  return Object.fromEntries(Array.from(stored, ([, number, count]) => [number, Number(count)]));
}

const sum = (counts: Record<string, number>) => Object.values(counts).reduce((so, count) => so + count, 0);

function listChildren({ child }: TestProcess): number[] {
  const list = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8");
  return list.split(" ").map(Number).filter(Boolean);
}

async function send(url: string, events: number, seed: number): Promise<void> {
  await runLoad({ url, accounts: 50, seed, events, batch: 1, connections: CONNECTIONS });
}

test(
  "three processes share a port: all take events, a scrape of any counts all, and one that dies is replaced",
  { skip: SKIP },
  withDatabase(async (db) => {
    const server = startProcess(["serve", "--port", "0", "--processes", "3"], { DATABASE_URL: db.url });
    const { url = "" } = await server.ready;
    await send(url, 1_000, 1);
    const counts = await scrape(url);
    assert.deepEqual(Object.keys(counts), ["1", "2", "3"]);
    assert.equal(sum(counts), 1_000);
    assert.ok(
      Object.values(counts).every((count) => count > 0),
      JSON.stringify(counts),
    );

    const [first = 0] = listChildren(server);
    process.kill(first, "SIGKILL");
    await until("a successor listens", () => server.output.stderr.includes("starting it again"));
    await until("all are there again", async () => Object.keys(await scrape(url).catch(() => ({}))).length === 3);
    await send(url, 300, 2);
    // The successor begins anew, and the others go on.
    assert.equal(sum(await scrape(url)), (counts["2"] ?? 0) + (counts["3"] ?? 0) + 300);

    const children = listChildren(server);
    assert.equal(await server.stop(), 0);
    for (const pid of children) assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
    const { rows } = await db.database.query("select sum(last_seq)::integer as stored from inturn.accounts");
    assert.deepEqual(rows, [{ stored: 1_300 }]);
  }),
);

test(
  "a page that one process has made may be sent to another",
  { skip: SKIP },
  withDatabase(async (db) => {
    await db.database.query("select from inturn.append_events(array['a'], array['{}']::json[])");
    const server = startProcess(["serve", "--port", "0"], { DATABASE_URL: db.url, INTURN_API_PROCESSES: "2" });
    const { url = "" } = await server.ready;
    const tokens = new Set<string | undefined>();
    for (let i = 0; i < 20; i += 1) {
      const page = await (await fetch(`${url}/accounts/a`, { headers: { connection: "close" } })).text();
      tokens.add(/name="token" value="([0-9a-f]{64})"/.exec(page)?.[1]);
    }
    assert.equal(tokens.size, 1);
    assert.ok(!tokens.has(undefined));
    assert.equal(await server.stop(), 0);
  }),
);

test(
  "a port that somebody has already is refused, also for several processes",
  { skip: SKIP },
  withDatabase(async (db) => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const address = other.address();
    const port = typeof address === "object" && address !== null ? String(address.port) : "";
    const { code, stderr } = await runProcess(["serve", "--port", port, "--processes", "2"], { DATABASE_URL: db.url });
    assert.equal(code, 1);
    assert.match(stderr, /Cannot listen on 127\.0\.0\.1, port \d+: another process listens there/);
    other.close();
  }),
);
