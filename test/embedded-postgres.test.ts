import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import pg from "pg";
import { useEmbeddedPostgres } from "../src/embedded/embedded-postgres.ts";
import { killLeftovers, startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(process.cwd(), ".inturn", "embedded-"));
  try {
    await body(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url });
  return await client.connect().then(
    () => client.end().then(() => true),
    () => false,
  );
}

test("two users at once share one server, which stops with the last of them and starts again with its data", async () => {
  await withFolder(async (folder) => {
    const [first, second] = await Promise.all([useEmbeddedPostgres(folder), useEmbeddedPostgres(folder)]);
    assert.equal(first.url, second.url);
    assert.notEqual(first.reused, second.reused);
    const client = new pg.Client({ connectionString: first.url });
    await client.connect();
    await client.query("create table kept as select 1 as n");
    await client.end();
    await first.release();
    assert.equal(await answers(second.url), true);
    await second.release();
    assert.equal(await answers(second.url), false);
    const again = await useEmbeddedPostgres(folder);
    const reader = new pg.Client({ connectionString: again.url });
    await reader.connect();
    assert.deepEqual((await reader.query("select n from kept")).rows, [{ n: 1 }]);
    await reader.end();
    await again.release();
  });
});

test("a server whose starter was killed is used by the next command, which stops it in the end", async () => {
  await withFolder(async (folder) => {
    const doomed = startProcess(["serve", "--port", "0"], { DATABASE_URL: "", INTURN_DATA: folder });
    await doomed.ready;
    doomed.child.kill("SIGKILL");
    await doomed.ended;
    const heir = await useEmbeddedPostgres(folder);
    assert.equal(heir.reused, true);
    assert.equal(await answers(heir.url), true);
    // PostgreSQL notices that the killed process is gone and lets go of its part of the lock.
    const holders = new pg.Client({ connectionString: heir.url });
    await holders.connect();
    await until("only the heir holds the server", async () => {
      const { rows } = await holders.query("select from pg_locks where locktype = 'advisory' and database <> 0");
      return rows.length === 1;
    });
    await holders.end();
    await heir.release();
    assert.equal(await answers(heir.url), false);
    killLeftovers();
  });
});

/** Kills one of the server's processes: all sessions end, and the server recovers under the same process. */
async function crash(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => undefined);
  await client.connect();
  const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
  process.kill(rows[0]?.pid ?? 0, "SIGKILL");
  await assert.rejects(client.query("select pg_sleep(30)"));
}

test("after a crash that the server recovered from it still stops with the last of its users, and not before", async () => {
  await withFolder(async (folder) => {
    const [first, second] = await Promise.all([useEmbeddedPostgres(folder), useEmbeddedPostgres(folder)]);
    await crash(first.url);
    await first.release();
    await until("the server answers", () => answers(second.url));
    await crash(second.url);
    await second.release();
    assert.equal(await answers(second.url), false);
    await assert.rejects(readFile(join(second.folder, "data", "postmaster.pid")), /ENOENT/);
  });
});

test("the server listens on loopback only, and its password is for its owner alone", async () => {
  await withFolder(async (folder) => {
    const server = await useEmbeddedPostgres(folder);
    const url = new URL(server.url);
    assert.equal(url.hostname, "127.0.0.1");
    url.password = "guess";
    assert.equal(await answers(url.href), false);
    const configuration = await readFile(join(server.folder, "data", "postgresql.conf"), "utf8");
    assert.match(configuration, /^listen_addresses = '127\.0\.0\.1'$/m);
    await server.release();
  });
});
