import assert from "node:assert/strict";
import { test } from "node:test";
import { openDatabase } from "../src/db/pool.ts";
import { withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";

test(
  "a connection that breaks while nobody uses it is told once, and without what it holds",
  withDatabase(async (db) => {
    const told: string[] = [];
    // As a log does it.
    const onError = (error: Error) => told.push(JSON.stringify([error.message, error]));
    const database = openDatabase({ url: db.url, name: "idle", connectionsMax: 1, onError });
    try {
      const { rows } = await database.query<{ pid: number }>("select pg_backend_pid() as pid");
      await db.query("select pg_terminate_backend($1)", [rows[0]?.pid]);
      await until("the pool has let it go", () => database.totalCount === 0);
      const [first = "", ...others] = told;
      assert.match(first, /terminating connection/);
      assert.doesNotMatch(told.join("\n"), /secretKey|"client"/);
      assert.doesNotMatch(others.join("\n"), /terminating connection/);
      assert.equal((await database.query("select")).rowCount, 1);
    } finally {
      await database.end();
    }
  }),
);
