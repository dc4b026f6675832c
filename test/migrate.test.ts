import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import pg from "pg";
import { migrateDatabase, urlOfDatabase } from "../src/db/migrate.ts";
import { readReadiness } from "../src/db/progress.ts";
import { withDatabase } from "./support/database.ts";
import { runProcess, startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

const DRIZZLE_KIT = new URL("../node_modules/drizzle-kit/bin.cjs", import.meta.url).pathname;

test(
  "twenty migrations at once, and one more after them, all succeed and leave one schema",
  withDatabase(
    async (db) => {
      const done = await Promise.all(Array.from({ length: 20 }, () => migrateDatabase(db.url)));
      assert.equal(new Set(done.map((migrated) => migrated.postgres)).size, 1);
      await migrateDatabase(db.url);
      const { entries } = JSON.parse(await readFile("drizzle/meta/_journal.json", "utf8")) as { entries: unknown[] };
      assert.deepEqual(await db.query("select count(*) as runs from inturn.migrations"), [{ runs: entries.length }]);
      assert.deepEqual(await db.query("select * from inturn.append_event('a', '1')"), [{ seq: 1, duplicate: false }]);
    },
    { empty: true },
  ),
);

test(
  "plain drizzle-kit migrate makes the same schema; events wait until graphile-worker's is there",
  withDatabase(
    async (db) => {
      const { code } = await runProcess(["migrate"], { DATABASE_URL: db.url }, { script: DRIZZLE_KIT });
      assert.equal(code, 0);
      await db.query("select * from inturn.append_event('a', '1')");
      const [account] = await db.query("select state, last_seq from inturn.accounts");
      assert.deepEqual(account, { state: "scheduled", last_seq: 1 });
      await migrateDatabase(db.url);
    },
    { empty: true },
  ),
);

test(
  "a database that lacks what the newest migration adds is refused by whoever would work with it",
  withDatabase(async (db) => {
    const files = (await readdir("drizzle")).filter((name) => name.endsWith("_tables.sql")).toSorted();
    const newest = await readFile(`drizzle/${files.at(-1)}`, "utf8");
    const added = Array.from(newest.matchAll(/ALTER TABLE ("\w+"\."\w+") ADD COLUMN ("\w+")/g));
    const sequences = Array.from(newest.matchAll(/CREATE SEQUENCE ("\w+"\."\w+")/g));
    const tables = Array.from(newest.matchAll(/CREATE TABLE ("\w+"\."\w+")/g));
    assert.ok(added.length + sequences.length + tables.length > 0);
    for (const [, table, column] of added) await db.query(`alter table ${table} drop column ${column} cascade`);
    for (const [, sequence] of sequences) await db.query(`drop sequence ${sequence} cascade`);
    for (const [, table] of tables) await db.query(`drop table ${table} cascade`);
    assert.equal((await readReadiness(db.database)).isMigrated, false);
  }),
);

test(
  "migrate --check says whether a database has to be migrated, and changes nothing",
  withDatabase(
    async (db) => {
      const check = async (...flags: string[]) => {
        const { code, stdout } = await runProcess(["migrate", "--check", ...flags], { DATABASE_URL: db.url });
        return [code, stdout];
      };
      assert.deepEqual(await check("--json"), [1, '{"migrated":false}\n']);
      assert.deepEqual(await db.query("select to_regnamespace('inturn') as schema"), [{ schema: null }]);
      await migrateDatabase(db.url);
      assert.deepEqual(await check(), [0, "The database is up to date.\n"]);
    },
    { empty: true },
  ),
);

/** As a release would make it that takes something away. */
const NEWER = (oldestMs: number) => `
  create or replace function inturn.oldest_program() returns bigint language sql immutable return ${oldestMs};
  insert into inturn.migrations (hash, created_at) values ('newer', ${oldestMs})`;

test(
  "a program that is too old for the tables refuses to start; one that is not works with newer ones; one that runs goes on",
  withDatabase(async (db) => {
    const environment = { DATABASE_URL: db.url, INTURN_HANDLER: "sleep", INTURN_HANDLER_MS: "0" };
    const worker = startProcess(["work"], environment);
    await worker.ready;
    await db.query("insert into inturn.migrations (hash, created_at) values ('newer', 9999999999999)");
    assert.equal((await runProcess(["status", "--json"], environment)).code, 0);
    assert.equal((await runProcess(["migrate", "--check"], environment)).code, 0);

    await db.query(NEWER(9_999_999_999_999));
    for (const command of ["work", "serve", "status", "migrate", "verify"]) {
      const { code, stderr } = await runProcess([command], { ...environment, PORT: "0" });
      assert.equal(code, 1, command);
      assert.match(
        stderr,
        /migrated by a newer version\..* migration of 2286-11-20T17:46, .* upgrade it\. \[database_too_new\]/,
      );
    }
    await db.query("select from inturn.append_event('a', '{}')");
    await until(
      "it is handled",
      async () => (await db.query("select from inturn.events where outcome = 'processed'")).length === 1,
    );
    assert.equal(await worker.stop(), 0);
  }),
);

test("the tables say which of the versions is the oldest that may work with them", async () => {
  const { entries } = JSON.parse(await readFile("drizzle/meta/_journal.json", "utf8")) as {
    entries: { when: number; tag: string }[];
  };
  const [, oldest] = /return (\d+);/.exec(await readFile("src/db/sql/upgrade/oldest_program.sql", "utf8")) ?? [];
  assert.ok(entries.some(({ when, tag }) => when === Number(oldest) && tag.endsWith("_objects")));
});

test(
  "a migration that fails says what PostgreSQL said, and exits 1",
  withDatabase(
    async (db) => {
      await db.query("create schema inturn; create view inturn.workers as select 1 as x");
      const { code, stderr } = await runProcess(["migrate"], { DATABASE_URL: db.url });
      assert.equal(code, 1);
      assert.match(stderr, /could not be migrated: relation "workers" already exists \[migration_failed\]/);
      assert.deepEqual(await db.query("select to_regclass('inturn.accounts') as accounts"), [{ accounts: null }]);
    },
    { empty: true },
  ),
);

test(
  "a database of a development version is refused and left as it is, by both ways to migrate",
  withDatabase(
    async (db) => {
      await db.query(
        "create schema inturn; create table inturn.accounts (id text); insert into inturn.accounts values ('a')",
      );
      await assert.rejects(migrateDatabase(db.url), /made by a development version.*Use a new database/);
      assert.deepEqual(await db.query("select to_regclass('inturn.migrations') as list"), [{ list: null }]);
      // drizzle-kit does not print what PostgreSQL said.
      const { code } = await runProcess(["migrate"], { DATABASE_URL: db.url }, { script: DRIZZLE_KIT });
      assert.notEqual(code, 0);
      assert.deepEqual(await db.query("select id from inturn.accounts"), [{ id: "a" }]);
    },
    { empty: true },
  ),
);

test("a database in another encoding than UTF-8 is refused before anything is written", async () => {
  const serverUrl = process.env["TEST_DATABASE_URL"] ?? "";
  const server = new pg.Client({ connectionString: serverUrl });
  await server.connect();
  await server.query("drop database if exists test_latin with (force)");
  await server.query("create database test_latin encoding 'LATIN1' locale 'C' template template0");
  try {
    await assert.rejects(
      migrateDatabase(urlOfDatabase(serverUrl, "test_latin")),
      /has the encoding LATIN1; Inturn needs UTF8.*encoding 'UTF8'/,
    );
    const client = new pg.Client({ connectionString: urlOfDatabase(serverUrl, "test_latin") });
    await client.connect();
    const { rows } = await client.query(
      "select to_regnamespace('inturn') as ours, to_regnamespace('graphile_worker') as jobs",
    );
    assert.deepEqual(rows, [{ ours: null, jobs: null }]);
    await client.end();
  } finally {
    await server.query("drop database test_latin with (force)");
    await server.end();
  }
});

/** Another drizzle project of the same database, whose migrations are newer than ours, or older. */
const STRANGER = (time: number) => `
  create schema drizzle;
  create table drizzle.__drizzle_migrations (id serial primary key, hash text not null, created_at bigint);
  insert into drizzle.__drizzle_migrations (hash, created_at) values ('x', ${time})`;

for (const [name, migrate] of [
  ["ours", async (url: string) => void (await migrateDatabase(url))],
  [
    "drizzle-kit's",
    async (url: string) => void (await runProcess(["migrate"], { DATABASE_URL: url }, { script: DRIZZLE_KIT })),
  ],
] as const) {
  for (const time of [1_000, 4_102_444_800_000]) {
    test(
      `beside another drizzle project both apply their own migrations: ${name}, theirs at ${time}`,
      withDatabase(
        async (db) => {
          await db.query(STRANGER(time));
          await migrate(db.url);
          assert.deepEqual(await db.query("select * from inturn.append_event('a', '1')"), [
            { seq: 1, duplicate: false },
          ]);
          // What their migrator asks for before it applies what is newer.
          const theirs = await db.query(
            "select hash, created_at from drizzle.__drizzle_migrations order by created_at desc",
          );
          assert.deepEqual(theirs, [{ hash: "x", created_at: time }]);
        },
        { empty: true },
      ),
    );
  }
}

test(
  "a role that owns everything of ours and may create no schema migrates: there is nothing to do",
  withDatabase(
    async (db) => {
      const role = `owner_${process.pid}`;
      await db.query(`create role ${role} login password 'secret'`);
      const url = new URL(db.url);
      url.username = role;
      url.password = "secret";
      try {
        await db.query(
          `do $$ begin execute format('grant create on database %I to ${role}', current_database()); end $$`,
        );
        await migrateDatabase(url.href);
        await db.query(
          `do $$ begin execute format('revoke create on database %I from ${role}', current_database()); end $$`,
        );
        const { code, stdout } = await runProcess(["migrate"], { DATABASE_URL: url.href });
        assert.equal(code, 0);
        assert.match(stdout, /up to date/);
      } finally {
        await db.query(`drop owned by ${role} cascade; drop role ${role}`);
      }
    },
    { empty: true },
  ),
);

test(
  "a migration that waits for another one says which session that is, and goes on when it has ended",
  withDatabase(async (db) => {
    const holder = await db.database.connect();
    await holder.query("begin; set local application_name = 'somebody else'; select pg_advisory_xact_lock(4917238002)");
    const said: string[] = [];
    const migration = migrateDatabase(db.url, (line) => void said.push(line));
    await until("it says what it waits for", () => said.length > 0);
    assert.match(said[0] ?? "", /waiting for another migration, which session \d+ \(somebody else\) runs/);
    await holder.query("commit");
    holder.release();
    await migration;
  }),
);

test(
  "a database that is read-only says so",
  withDatabase(
    async (db) => {
      await db.query(
        "do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$",
      );
      await assert.rejects(migrateDatabase(db.url), /The database at [^ ]+ is read-only: cannot execute CREATE SCHEMA/);
    },
    { empty: true },
  ),
);

test("a database that is not there is named, without its password", async () => {
  const { code, stderr } = await runProcess(["migrate"], { DATABASE_URL: "postgres://me:secret@127.0.0.1:1/none" });
  assert.equal(code, 1);
  assert.match(stderr, /No PostgreSQL answers at 127\.0\.0\.1:1\/none.*\[database_unavailable\]/);
  assert.doesNotMatch(stderr, /secret/);
});

test(
  "serve and work refuse a database that is not migrated, and say what to do",
  withDatabase(
    async (db) => {
      for (const command of ["serve", "work", "verify"]) {
        const { code, stderr } = await runProcess([command], { DATABASE_URL: db.url });
        assert.equal(code, 1);
        assert.match(stderr, /npm run migrate \[database_not_migrated\]/);
      }
    },
    { empty: true },
  ),
);
