/**
 * `doctor` finds what is wrong with a database: each fault is planted, and everything else stays well.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { makeCell } from "../src/db/cells.ts";
import type { Finding } from "../src/db/examine-check.ts";
import { migrateDatabase } from "../src/db/migrate.ts";
import { beginMove } from "../src/db/move.ts";
import { spreadBuckets } from "../src/domain/cell.ts";
import { examine } from "../src/service/doctor.ts";
import { FaultServer } from "./faults/server.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { startPgBouncer, WITHOUT_PGBOUNCER } from "./support/pgbouncer.ts";
import { runProcess } from "./support/process.ts";

/** What is not well: the check, its level, and what was found. Other tests have connections to the same server. */
function list(findings: readonly Finding[]): [string, string, string][] {
  for (const { level, advice } of findings) assert.equal(advice === null, level === "ok");
  return findings
    .filter(({ check, level }) => level !== "ok" && check !== "connections")
    .map(({ check, level, found }) => [check, level, found]);
}

/** What doctor finds, and that it is this one thing. */
function assertOnly(findings: readonly Finding[], check: string, level: string, found: RegExp): void {
  const [[name, itsLevel, text] = [], ...others] = list(findings);
  assert.deepEqual([name, itsLevel, others], [check, level, []]);
  assert.match(text ?? "", found);
}

/** Runs a statement about the database by its name. */
async function alter(db: TestDatabase, statement: string): Promise<void> {
  const [row] = await db.query<{ name: string }>("select quote_ident(current_database()) as name");
  await db.query(`alter database ${row?.name} ${statement}`);
}

test(
  "a database that is well has no fault, and one that is away is named",
  withDatabase(async (db) => {
    const findings = await examine(db.url);
    assert.deepEqual(list(findings), []);
    assert.equal(findings.length, 18);
    const { code, stdout } = await runProcess(["doctor", "--json"], { DATABASE_URL: db.url });
    assert.equal(code, 0);
    const named = (all: readonly Finding[]) => all.map(({ check, level }) => [check, level]);
    assert.deepEqual(named(JSON.parse(stdout) as Finding[]), named(findings));

    const away = new URL(db.url);
    away.port = "1";
    assertOnly(
      await examine(away.href),
      "reachable",
      "problem",
      /^127\.0\.0\.1:1\/test_\w+ cannot be used: .*ECONNREFUSED/,
    );
    const text = await runProcess(["doctor"], { DATABASE_URL: away.href });
    assert.equal(text.code, 1);
    assert.match(text.stdout, /^PROBLEM {2}reachable {2}127\.0\.0\.1:1.*\n {20}Check DATABASE_URL/);
  }),
);

test(
  "a schema that is missing, or newer than the program",
  withDatabase(
    async (db) => {
      const findings = await examine(db.url);
      assertOnly(findings, "schema", "problem", /are missing/);
      assert.equal(findings.at(-1)?.check, "schema", "what needs our tables is left out");
      await migrateDatabase(db.url);
      assert.deepEqual(list(await examine(db.url)), []);
      await db.query("insert into inturn.migrations (hash, created_at) values ('x', $1)", [Date.now() + 1e9]);
      assertOnly(await examine(db.url), "schema", "warning", /by a newer version/);
    },
    { empty: true },
  ),
);

test(
  "settings of the database that lose events, or let nobody write",
  withDatabase(async (db) => {
    await alter(db, "set synchronous_commit = off");
    assertOnly(await examine(db.url), "synchronous-commit", "problem", /loses events that were acknowledged/);
    await alter(db, "reset synchronous_commit");
    await alter(db, "set default_transaction_read_only = on");
    assertOnly(await examine(db.url), "writable", "problem", /may only read/);
    await alter(db, "reset default_transaction_read_only");
  }),
);

test(
  "what holds the work up: no autovacuum, old versions of rows, a move that was interrupted, a wake-up that nobody frees, no worker, clocks that differ",
  withDatabase(async (db) => {
    await db.query("alter table inturn.events set (autovacuum_enabled = false)");
    assertOnly(await examine(db.url), "autovacuum", "problem", /off for inturn\.events/);
    await db.query("alter table inturn.events reset (autovacuum_enabled)");

    assertOnly(await examine(db.url, { nowMs: () => Date.now() - 60_000 }), "clock", "warning", /^60\.\d s between/);

    await makeCell(db.database, { here: "a", map: spreadBuckets(["a", "b"]) });
    await beginMove(db.database, { bucket: 3, mover: "me" }, "b");
    assertOnly(await examine(db.url), "moves", "warning", /nobody does it: 3 to b; their accounts may be held/);
    await db.query("delete from inturn.buckets");

    await appendEvents(db.database, [newEvent({ accountId: "a", data: "1" })]);
    assertOnly(await examine(db.url), "workers", "problem", /^0 live, 0 silent; accounts are due/);
    await db.query(
      "update graphile_worker._private_jobs set locked_at = now() - interval '2 minutes', locked_by = 'gone'",
    );
    await db.query(
      "insert into inturn.workers (id, host, pid, concurrency, graphile_pool, lease_expires_at) values (gen_random_uuid(), 'h', 1, 1, 'here', now() + interval '1 minute')",
    );
    assertOnly(
      await examine(db.url),
      "stuck-jobs",
      "warning",
      /^1 wake-ups are locked by processes that are gone, for 2 min/,
    );

    await db.query(
      `update graphile_worker._private_jobs set locked_at = null, locked_by = null;
       insert into inturn.workers (id, host, pid, concurrency, lease_expires_at)
       select gen_random_uuid(), 'h', 1, 1, now() from generate_series(1, 60000);
       update inturn.workers set pid = 2; update inturn.workers set pid = 3; select pg_stat_force_next_flush()`,
    );
    assertOnly(await examine(db.url), "dead-rows", "warning", /^more old .* than rows: inturn\.workers \(1\d{5}\)$/);
  }),
);

test(
  "a role that lacks what a worker needs, and one that cannot sign in",
  withDatabase(async (db) => {
    const role = `doctor_${process.pid}`;
    await db.query(`create role ${role} login password 'secret'`);
    try {
      await db.query(`grant usage on schema inturn to ${role}; grant select on all tables in schema inturn to ${role}`);
      const url = new URL(db.url);
      url.username = role;
      url.password = "secret";
      const found = list(await examine(url.href)).find(([check]) => check === "privileges");
      assert.match(found?.[2] ?? "", /^\w+ may do none of ingest, .*; for ingest it lacks .*$/);
    } finally {
      await db.query(`drop owned by ${role}; drop role ${role}`);
    }
    const unknown = new URL(db.url);
    unknown.pathname = "/nothing_of_this_name";
    assertOnly(await examine(unknown.href), "reachable", "problem", /does not exist/);
  }),
);

test("a server without fsync and autovacuum, a database in another encoding, too few connections, an old snapshot", async () => {
  const server = await FaultServer.create({ settings: "fsync = off\nfull_page_writes = off\nautovacuum = off" });
  try {
    await server.createDatabase("unsafe");
    const url = server.adminUrl("unsafe");
    const found = list(await examine(url)).map(([check, level]) => [check, level]);
    assert.deepEqual(found, [
      ["fsync", "problem"],
      ["full-page-writes", "problem"],
      ["autovacuum", "problem"],
    ]);
    const room = async () => (await examine(url)).find(({ check }) => check === "connections");
    assert.match((await room())?.found ?? "", /^room for \d{3}; 1 worker\(s\) and an API take up to 46$/);
    await server.query("alter database unsafe connection limit 60");
    const open = (name: string) => new pg.Client({ connectionString: url, application_name: name });
    const sessions = [open("inturn sign of life"), open("inturn sign of life"), open("psql")];
    await Promise.all(sessions.map((client) => client.connect()));
    const { level, found: text } = (await room()) ?? {};
    await Promise.all(sessions.map((client) => client.end()));
    assert.deepEqual([level, text], ["warning", "room for 59; 2 worker(s) and an API take up to 82"]);
    await server.query("create database latin encoding 'LATIN1' template template0");
    const latin = list(await examine(server.adminUrl("latin"))).map(([check]) => check);
    assert.ok(latin.includes("encoding") && latin.includes("schema"), latin.join());
    const holder = new pg.Client({ connectionString: url });
    await holder.connect();
    await holder.query("begin isolation level repeatable read");
    await holder.query("select 1");
    const findings = await examine(url, { snapshotSecondsMax: 0 });
    assert.match(
      findings.find(({ check }) => check === "old-snapshot")?.found ?? "",
      /^session \d+ of postgres, without a name, keeps/,
    );
    await holder.end();
  } finally {
    await server.remove();
  }
});

const IGNORE = "ignore_startup_parameters = options,statement_timeout,lock_timeout,idle_in_transaction_session_timeout";

/** How PgBouncer may be set up, and how that is told. */
const POOLERS: readonly (readonly [lines: string[], found: RegExp, refusal: RegExp])[] = [
  [["pool_mode = session"], /unsupported startup parameter/, /refuses them: unsupported startup parameter/],
  [["pool_mode = session", IGNORE], /throws the settings .* away/, /throws away the settings of our sessions/],
  [["pool_mode = transaction", IGNORE], /share one session/, /throws away the settings of our sessions/],
];

for (const [lines, found, refusal] of POOLERS) {
  test(
    `behind PgBouncer with ${lines.join(", ").slice(0, 60)} nothing starts, and doctor says why`,
    { skip: WITHOUT_PGBOUNCER },
    withDatabase(async (db) => {
      const pooler = await startPgBouncer(db.url, lines);
      try {
        assertOnly(await examine(pooler.url), "pooler", "problem", found);
        const environment = { DATABASE_URL: pooler.url, PORT: "0", INTURN_HANDLER: "sleep" };
        for (const command of ["work", "serve", "start", "migrate"]) {
          const { code, stderr } = await runProcess([command], environment);
          assert.equal(code, 1, command);
          assert.match(stderr, refusal);
          assert.match(stderr, /Set INTURN_DIRECT_DATABASE_URL to PostgreSQL itself\. \[pooler_in_between\]/);
        }
      } finally {
        pooler.stop();
      }
    }),
  );
}
