import assert from "node:assert/strict";
import { test } from "node:test";
import type pg from "pg";
import { createLog } from "../src/log/log.ts";
import { openDispatcherPool } from "../src/worker/dispatcher-pool.ts";
import { withDatabase } from "./support/database.ts";

test(
  "graphile-worker may release its listening connection twice, as it does when the connection breaks while it gives up",
  withDatabase(async (db) => {
    const { pool, destroy } = openDispatcherPool(db.url, createLog({ name: "test", level: "silent" }));
    const { promise, resolve, reject } = Promise.withResolvers<[pg.PoolClient, (error?: Error) => void]>();
    pool.connect((error, connected, done) => {
      if (connected === undefined) reject(error ?? new Error("no client"));
      else resolve([connected, done]);
    });
    const [client, release] = await promise;
    assert.deepEqual((await client.query("select 1 as one")).rows, [{ one: 1 }]);
    release();
    assert.doesNotThrow(() => release(new Error("it broke")));
    // The connection is in the pool once, and whoever has it now keeps it.
    assert.deepEqual([pool.totalCount, pool.idleCount], [1, 1]);
    assert.deepEqual((await pool.query("select 2 as two")).rows, [{ two: 2 }]);
    destroy();
    // A pool that ends has nothing to release, and graphile-worker asks whether there is something.
    const given = await new Promise<unknown[]>((done) => {
      pool.connect((...args: unknown[]) => done(args));
    });
    assert.ok(given[0] instanceof Error);
    assert.deepEqual(given.slice(1), [undefined, undefined]);
  }),
);
