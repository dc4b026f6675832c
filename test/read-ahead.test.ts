/**
 * Reading ahead within a number of bytes: large events wait for memory, small ones do not, and what cannot be read is one
 * account's trouble.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Database } from "../src/db/pool.ts";
import { createLedger } from "../src/engine/ledger.ts";
import { Memory } from "../src/engine/memory.ts";
import { type EventsInHand, ReadAhead } from "../src/engine/read-ahead.ts";
import { runTurn } from "../src/engine/turn.ts";
import { createLog, type Log } from "../src/log/log.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";
import { accountRow, createTestWorker } from "./support/worker.ts";

const MEGABYTE = 1_048_576;

const silent = createLog({ level: "silent", name: "test" });

/** JSON of about so many bytes that packs well. */
const textOf = (bytes: number) => JSON.stringify("x".repeat(bytes));

/** A log that keeps what it was told, for the levels that people see. */
function keepLines(): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const note = (_fields: unknown, message: string) => void lines.push(message);
  return { log: Object.assign(Object.create(silent), { warn: note, error: note }) as Log, lines };
}

interface Setup {
  bytesMax?: number;
  concurrency?: number;
  log?: Log;
  database?: Database;
}

function createReadAhead(db: TestDatabase, setup: Setup = {}): ReadAhead {
  const { bytesMax = 4 * MEGABYTE, concurrency = 8, log = silent, database = db.database } = setup;
  return new ReadAhead({ database, bytesMax, concurrency, log, hopeless: new AbortController().signal });
}

async function appendData(db: TestDatabase, accountIds: readonly string[], data: string): Promise<void> {
  await appendEvents(
    db.database,
    accountIds.map((accountId) => newEvent({ accountId, data })),
  );
}

const isPending = async (promise: Promise<unknown>) =>
  (await Promise.race([promise, new Promise((resolve) => setImmediate(resolve, "pending"))])) === "pending";

test("memory goes to who asked first; a wish for more than there is goes alone; a signal ends the wait", async () => {
  const memory = new Memory({ bytesMax: 10, waitingMax: 3 });
  assert.equal(await memory.take(6, []), true);
  const large = memory.take(50, []);
  const small = memory.take(4, []);
  const stop = new AbortController();
  const stopped = memory.take(1, [stop.signal]);
  assert.equal(await memory.take(1, []), false, "three wait already");
  stop.abort();
  assert.equal(await stopped, false);
  assert.equal(await memory.take(1, [stop.signal]), false);
  assert.ok(await isPending(small), "it does not go before the large one");
  memory.give(6);
  assert.equal(await large, true);
  assert.ok(await isPending(small));
  memory.give(50);
  assert.equal(await small, true);
  memory.give(4);
  assert.equal(await memory.take(10, []), true, "all of it has come back");
});

test("whoever waits behind one that is stopped goes on", async () => {
  const memory = new Memory({ bytesMax: 10, waitingMax: 3 });
  await memory.take(6, []);
  const stop = new AbortController();
  const large = memory.take(10, [stop.signal]);
  const small = memory.take(4, []);
  assert.ok(await isPending(small));
  stop.abort();
  assert.equal(await large, false);
  assert.equal(await small, true);
});

test(
  "a batch is as large as its account's part of the memory, by the size of the text and not as it is stored",
  withDatabase(async (db) => {
    const readAhead = createReadAhead(db, { bytesMax: 2 * MEGABYTE, concurrency: 10 });
    for (let i = 0; i < 4; i++) await appendData(db, ["packed"], textOf(40_000));
    const [stored] = await db.query<{ size: number; bytes: number }>(
      "select max(pg_column_size(data)) as size, sum(bytes)::integer as bytes from inturn.events",
    );
    assert.ok((stored?.size ?? 0) < 2_000, "it packs well");
    assert.equal(stored?.bytes, 4 * 40_002);
    const sizes = async () => {
      const batch = await readAhead.read({ accountId: "packed", afterSeq: 0 }, []);
      return batch?.events.map(({ seq, bytes }) => [seq, bytes]);
    };
    const both = [1, 2].map((seq) => [seq, 40_002]);
    assert.deepEqual(await sizes(), both);
    await db.query("update inturn.events set bytes = null");
    assert.deepEqual(await sizes(), both, "an event of an earlier version is measured when it is read");
  }),
);

test(
  "large events are in memory together up to its half, one account after the other; small ones wait for none of them",
  withDatabase(async (db) => {
    const readAhead = createReadAhead(db, { bytesMax: 4 * MEGABYTE, concurrency: 40 });
    const accountIds = Array.from({ length: 8 }, (_, i) => `large-${i}`);
    for (const accountId of accountIds) await appendData(db, [accountId], textOf(MEGABYTE - 100));
    await appendData(db, ["small", "small"], "{}");
    const order: string[] = [];
    const inHand: EventsInHand[] = [];
    const reads = accountIds.map(async (accountId) => {
      const batch = await readAhead.read({ accountId, afterSeq: 0 }, []);
      assert.equal(batch?.events[0]?.bytes, MEGABYTE - 98);
      order.push(accountId);
      if (batch !== undefined) inHand.push(batch);
    });
    for (let done = 0; done < accountIds.length; done += 2) {
      await until("two large events are in memory", () => inHand.length === 2);
      const small = await readAhead.read({ accountId: "small", afterSeq: 0 }, []);
      assert.deepEqual(
        small?.events.map(({ seq }) => seq),
        [1, 2],
      );
      assert.equal(inHand.length, 2, "no third large event is read");
      for (const batch of inHand.splice(0)) batch.release();
    }
    await Promise.all(reads);
    assert.deepEqual(order, accountIds);
  }),
);

test(
  "an account for which there is no room rests without a lease, keeps its attempts, and is handled later",
  withDatabase(async (db) => {
    const { log, lines } = keepLines();
    const { id, options } = await createTestWorker(db);
    const readAhead = createReadAhead(db, { bytesMax: 2 * MEGABYTE, concurrency: 4, log });
    const hopeless = new AbortController().signal;
    const ledger = createLedger({ database: db.database, workerId: id, hopeless, readAhead });
    const release = Promise.withResolvers<void>();
    const handled: string[] = [];
    const turn = {
      ...options,
      ledger,
      handler: async ({ accountId }: { accountId: string }) => {
        if (accountId === "a") await release.promise;
        handled.push(accountId);
      },
    };
    for (const accountId of ["a", "b", "c"]) await appendData(db, [accountId], textOf(MEGABYTE));
    const first = runTurn(turn, "a");
    await until("a runs", async () => (await accountRow(db, "a"))?.["state"] === "running");
    const second = runTurn(turn, "b");
    await until("b waits for memory", async () => (await accountRow(db, "b"))?.["state"] === "running");
    await runTurn(turn, "c");
    const rested = await accountRow(db, "c");
    assert.deepEqual(
      [rested?.["state"], rested?.["head_attempts"], rested?.["leased"]],
      ["retrying", 0, false],
      "c found one waiting before it",
    );
    const [job] = await db.query<{ due: boolean }>(
      "select run_at > now() + interval '1 second' as due from graphile_worker.jobs where key like 'c%' order by id desc limit 1",
    );
    assert.equal(job?.due, true, "it does not come again at once");
    assert.deepEqual(lines, ["large events wait for memory; see INTURN_READ_AHEAD_BYTES_MAX"]);
    release.resolve();
    await Promise.all([first, second]);
    await db.query("update inturn.accounts set next_attempt_at = now() where id = 'c'");
    await runTurn(turn, "c");
    assert.deepEqual(handled, ["a", "b", "c"]);
    assert.equal((await accountRow(db, "c"))?.["state"], "idle");
  }),
);

test(
  "a turn that waits for memory gives its account back when the worker stops",
  withDatabase(async (db) => {
    const { id, options } = await createTestWorker(db);
    const readAhead = createReadAhead(db, { bytesMax: 2 * MEGABYTE, concurrency: 4 });
    const ledger = createLedger({ database: db.database, workerId: id, hopeless: AbortSignal.abort(), readAhead });
    for (const accountId of ["a", "b"]) await appendData(db, [accountId], textOf(MEGABYTE));
    const held = await readAhead.read({ accountId: "a", afterSeq: 0 }, []);
    assert.equal(held?.events.length, 1);
    const stop = new AbortController();
    const turn = runTurn({ ...options, ledger, stopping: stop.signal }, "b");
    await until("b waits", async () => (await accountRow(db, "b"))?.["state"] === "running");
    stop.abort();
    await turn;
    assert.deepEqual(
      [(await accountRow(db, "b"))?.["state"], (await accountRow(db, "b"))?.["head_attempts"]],
      ["scheduled", 0],
    );
  }),
);

test(
  "a read that fails again and again is told once, goes alone, and touches no other account",
  withDatabase(async (db) => {
    for (const [code, isTransient] of [
      ["57014", true],
      ["XX001", false],
    ] as const) {
      const { log, lines } = keepLines();
      let fails = true;
      const sizes: number[] = [];
      const database = {
        query: async (query: { text: string; values: unknown[][] }) => {
          const accountIds = query.values[0] ?? [];
          if (fails && accountIds.includes("bad")) {
            sizes.push(accountIds.length);
            throw Object.assign(new Error("it cannot be read"), { code });
          }
          return await db.database.query(query);
        },
      } as unknown as Database;
      const readAhead = createReadAhead(db, { database, log });
      const accountIds = ["a", "b", "bad", "c"];
      await appendData(db, accountIds, "{}");
      const reads = accountIds.map((accountId) => readAhead.read({ accountId, afterSeq: 0 }, []));
      const bad = reads[2] ?? Promise.reject(new Error("no read"));
      const failed = isTransient ? undefined : assert.rejects(bad, { code });
      for (const read of [reads[0], reads[1], reads[3]]) assert.ok(((await read)?.events.length ?? 0) > 0);
      await failed;
      if (!isTransient) {
        assert.deepEqual(sizes, [4, 1]);
        continue;
      }
      await until("it is tried again", () => sizes.length >= 4);
      assert.deepEqual(new Set(sizes.slice(1)), new Set([1]), "alone");
      assert.equal(lines.length, 1, lines.join("\n"));
      fails = false;
      assert.ok(((await bad)?.events.length ?? 0) > 0);
    }
  }),
);
