/** A system is dumped while it works, restored elsewhere, and goes on there: in order, with nothing lost of what the dump has. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { glob, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { runLoad } from "../src/demo/load.ts";
import { createInturn, type Inturn } from "../src/index.ts";
import { FaultServer } from "./faults/server.ts";
import { runProcess, startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

const run = promisify(execFile);

/** Debian's packages of a server have both programs; the newest. */
const [PG_DUMP] = (await Array.fromAsync(glob("/usr/lib/postgresql/*/bin/pg_dump"))).toSorted().toReversed();

const ACCOUNTS = 30;
const EVENTS = 1_500;

/** A worker whose handler takes 2 ms; it notes what it is handed. */
function createWorker(databaseUrl: string, seen: string[] = []): Inturn {
  return createInturn({
    databaseUrl,
    logLevel: "silent",
    handler: async ({ accountId, seq }) => {
      seen.push(`${accountId}/${seq}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    },
  });
}

test("dumped under load, restored, migrated, drained, verified", {
  skip: PG_DUMP === undefined && "there is no pg_dump here",
}, async () => {
  const bin = dirname(PG_DUMP ?? "");
  const server = await FaultServer.create({ bin });
  const file = join(tmpdir(), `inturn-${process.pid}.dump`);
  try {
    await server.createDatabase("app");
    const url = server.url("app");
    const api = startProcess(["serve", "--port", "0"], { DATABASE_URL: url });
    const { url: apiUrl = "" } = await api.ready;
    const worker = createWorker(url);
    await worker.startWorker();
    const sending = runLoad({ url: apiUrl, accounts: ACCOUNTS, seed: 1, events: EVENTS, batch: 5, connections: 4 });
    await until("some are handled", async () => (await worker.status()).settled > 100);
    await run(join(bin, "pg_dump"), ["--format=custom", `--file=${file}`, server.adminUrl("app")]);
    await sending;
    await worker.stop();
    await api.stop();

    await server.query("create database restored owner inturn");
    await run(join(bin, "pg_restore"), [`--dbname=${server.adminUrl("restored")}`, "--exit-on-error", file]);
    const restored = server.url("restored");
    const migrated = await runProcess(["migrate"], { DATABASE_URL: restored });
    assert.equal(migrated.code, 0, migrated.stderr);
    const count = async (where: string) =>
      (
        await server.query<{ events: number }>(
          `select count(*)::integer as events from inturn.events where ${where}`,
          [],
          "restored",
        )
      )[0]?.events ?? 0;
    const [stored, settled] = [await count("true"), await count("outcome is not null")];
    assert.ok(settled > 0 && settled < stored && stored <= EVENTS, `${settled} of ${stored} were settled`);

    const seen: string[] = [];
    const heir = createWorker(restored, seen);
    await heir.startWorker();
    await until("all of it is handled", async () => (await count("outcome is null")) === 0);
    await heir.stop();
    assert.equal(new Set(seen).size, seen.length);
    assert.equal(seen.length, stored - settled);
    const verified = await runProcess(["verify", "--json"], { DATABASE_URL: restored });
    const { lost, duplicates, orderViolations, overlaps, pending } = JSON.parse(verified.stdout);
    assert.deepEqual([lost, duplicates, orderViolations, overlaps, pending], [0, 0, 0, 0, 0]);
    assert.equal(verified.code, 0);
  } finally {
    await server.remove();
    await rm(file, { force: true });
  }
});
