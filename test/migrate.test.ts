import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { migrateDatabase } from "../src/db/migrate.ts";
import { withDatabase } from "./support/database.ts";
import { runProcess } from "./support/process.ts";

const DRIZZLE_KIT = new URL("../node_modules/drizzle-kit/bin.cjs", import.meta.url).pathname;

test(
  "twenty migrations at once, and one more after them, all succeed and leave one schema",
  withDatabase(
    async (db) => {
      const done = await Promise.all(Array.from({ length: 20 }, () => migrateDatabase(db.url)));
      assert.equal(new Set(done.map((migrated) => migrated.postgres)).size, 1);
      await migrateDatabase(db.url);
      const { entries } = JSON.parse(await readFile("drizzle/meta/_journal.json", "utf8")) as { entries: unknown[] };
      assert.deepEqual(await db.query("select count(*) as runs from drizzle.__drizzle_migrations"), [
        { runs: entries.length },
      ]);
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
  "a migration that fails says what PostgreSQL said, and exits 1",
  withDatabase(
    async (db) => {
      await db.query("create schema inturn");
      const { code, stderr } = await runProcess(["migrate"], { DATABASE_URL: db.url });
      assert.equal(code, 1);
      assert.match(stderr, /could not be migrated: schema "inturn" already exists \[migration_failed\]/);
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
