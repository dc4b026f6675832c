/** Patroni promotes the standby of a primary that is gone, HAProxy leads to it, and everything goes on: nothing lost, in order. */
import assert from "node:assert/strict";
import { glob } from "node:fs/promises";
import { dirname } from "node:path";
import { test } from "node:test";
import { runLoad } from "../src/demo/load.ts";
import { startCluster, WITHOUT_PATRONI } from "./support/patroni.ts";
import { runProcess, startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

const [PG_CTL] = (await Array.fromAsync(glob("/usr/lib/postgresql/*/bin/pg_ctl"))).toSorted().toReversed();

test("the primary under Patroni is killed under load; after the promotion the first event is handled within 5 s, and none is lost", {
  skip: WITHOUT_PATRONI || (PG_CTL === undefined && "there is no PostgreSQL of the system here"),
}, async () => {
  const cluster = await startCluster(dirname(PG_CTL ?? ""));
  try {
    const environment = { DATABASE_URL: cluster.url, INTURN_HANDLER: "sleep", INTURN_HANDLER_MS: "20" };
    const migrated = await runProcess(["migrate"], environment);
    assert.equal(migrated.code, 0, migrated.stderr);
    const api = startProcess(["serve", "--port", "0"], environment);
    const workers = [startProcess(["work"], environment), startProcess(["work"], environment)];
    const { url = "" } = await api.ready;
    await Promise.all(workers.map((worker) => worker.ready));
    const sending = runLoad({ url, accounts: 40, seed: 1, events: 3_000, batch: 1, connections: 4, rate: 60 });
    const countSettled = async () => {
      const { stdout } = await runProcess(["status", "--json"], environment);
      return (JSON.parse(stdout || "{}") as { settled?: number }).settled ?? -1;
    };
    await until("some are handled", async () => (await countSettled()) > 100);

    await cluster.killPrimary();
    const promotedMs = performance.now();
    const before = await until("it answers again", async () => {
      const settled = await countSettled();
      return settled >= 0 ? { settled } : undefined;
    });
    await until("the first one is handled", async () => (await countSettled()) > before.settled);
    const seconds = (performance.now() - promotedMs) / 1_000;
    assert.ok(seconds < 5, `after ${seconds} s`);
    console.log(`handled ${seconds.toFixed(1)} s after the promotion at the latest`);

    const { events, duplicates } = await sending;
    assert.equal(events, 3_000);
    await until("all are handled", async () => (await countSettled()) === 3_000, 60_000);
    const verified = await runProcess(["verify", "--json"], environment);
    const found = JSON.parse(verified.stdout) as Record<string, number>;
    assert.deepEqual(
      [found["lost"], found["duplicates"], found["orderViolations"], found["overlaps"], found["processed"]],
      [0, 0, 0, 0, 3_000],
      `${duplicates} repeated`,
    );
    for (const part of [api, ...workers]) assert.equal(await part.stop(), 0);
  } finally {
    cluster.stop();
  }
});
