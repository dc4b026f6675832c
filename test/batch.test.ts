/** Handlers that get the next events of an account together. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { insertPause } from "../src/db/pauses.ts";
import type { RetryRule } from "../src/domain/failure.ts";
import type { BatchContext, BatchHandler } from "../src/engine/handler.ts";
import { runTurn } from "../src/engine/turn.ts";
import type { TurnOptions } from "../src/engine/turn-options.ts";
import { BatchError, DoNotRetryError } from "../src/errors/retry.ts";
import { loadHandler } from "../src/worker/handler-module.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { oneTo } from "./support/effects.ts";
import { accountRow, createTestWorker, rule } from "./support/worker.ts";

const append = async (db: TestDatabase, accountId: string, count: number, of: { type?: string; data?: string } = {}) =>
  await appendEvents(
    db.database,
    Array.from({ length: count }, () => newEvent({ accountId, data: "{}", ...of })),
  );

const batchOf = (handler: BatchHandler, eventsMax = 100, bytesMax = 262_144) => ({ handler, eventsMax, bytesMax });

/** One rule for all: events of one batch share it. */
const always = (one: RetryRule) => () => one;

/** Turns until the account is where it should be; the backoff is a millisecond. */
async function runUntil(db: TestDatabase, options: TurnOptions, accountId: string, state = "idle"): Promise<void> {
  for (let turns = 0; turns < 1_000; turns += 1) {
    await runTurn(options, accountId);
    if ((await accountRow(db, accountId))?.["state"] === state) return;
  }
  assert.fail(`the account is ${JSON.stringify(await accountRow(db, accountId))}`);
}

const attemptsOf = async (db: TestDatabase, accountId: string) =>
  (
    await db.query<{ attempts: number }>("select attempts from inturn.events where account_id = $1 order by seq", [
      accountId,
    ])
  ).map(({ attempts }) => attempts);

const nothingIsOutOfOrder = async (db: TestDatabase) =>
  assert.deepEqual(await db.query("select * from inturn.order_violations"), []);

/** A handler that records, and fails as often as told at some seqs. */
function recorder(failures: ReadonlyMap<number, number>) {
  const left = new Map(failures);
  const handled: number[] = [];
  const calls: number[][] = [];
  const handler = async (events: Parameters<BatchHandler>[0], { attempt }: Pick<BatchContext, "attempt">) => {
    calls.push(events.map(({ seq }) => seq));
    for (const [i, { seq }] of events.entries()) {
      const times = left.get(seq) ?? 0;
      if (times === 0) {
        handled.push(seq);
        continue;
      }
      left.set(seq, times - 1);
      if (i === 0) assert.equal(attempt, (failures.get(seq) ?? 0) - times + 1);
      throw new BatchError(i, new Error(`event ${seq} fails`));
    }
  };
  return { handler, handled, calls };
}

test(
  "batches of a hundred that fail at random events: each is settled once, in exact order, after the exact attempts",
  withDatabase(async (db) => {
    const { options } = await createTestWorker(db);
    const schedule = fc.record({
      events: fc.integer({ min: 1, max: 250 }),
      eventsMax: fc.constantFrom(100, 100, 7, 1),
      failures: fc.array(fc.tuple(fc.integer({ min: 1, max: 250 }), fc.integer({ min: 1, max: 3 })), { maxLength: 6 }),
    });
    await fc.assert(
      fc.asyncProperty(schedule, async ({ events, eventsMax, failures }) => {
        await db.query("truncate inturn.accounts, inturn.events, inturn.attempts");
        const failing = new Map(failures);
        const { handler, handled } = recorder(failing);
        await append(db, "a", events);
        await runUntil(db, { ...options, batch: batchOf(handler, eventsMax) }, "a");
        assert.deepEqual(handled, oneTo(events));
        assert.deepEqual(
          await attemptsOf(db, "a"),
          oneTo(events).map((seq) => 1 + (failing.get(seq) ?? 0)),
        );
        await nothingIsOutOfOrder(db);
      }),
      { numRuns: 40 },
    );
  }),
);

test(
  "with a transaction all of a batch is settled in it or none; what went well before the one that failed comes again",
  withDatabase(async (db) => {
    await db.query("create table effects (seq bigint)");
    const { options } = await createTestWorker(db);
    const { handler, calls } = recorder(
      new Map([
        [4, 2],
        [9, 1],
      ]),
    );
    const inTransaction: BatchHandler = async (events, context) =>
      await context.transaction(async (client) => {
        for (const { seq } of events) await client.query("insert into effects values ($1)", [seq]);
        await handler(events, context);
      });
    await append(db, "a", 10);
    await runUntil(db, { ...options, batch: batchOf(inTransaction) }, "a");
    const effects = await db.query<{ seq: number }>("select seq from effects order by ctid");
    assert.deepEqual(
      effects.map(({ seq }) => seq).toSorted((a, b) => a - b),
      oneTo(10),
    );
    // What failed behind a head was no attempt of its own: nothing of that transaction was kept.
    assert.deepEqual(await attemptsOf(db, "a"), [1, 1, 1, 2, 1, 1, 1, 1, 1, 1]);
    assert.deepEqual(calls.slice(0, 3), [oneTo(10), [1, 2, 3], [4, 5, 6, 7, 8, 9, 10]]);
    await nothingIsOutOfOrder(db);
  }),
);

test(
  "an error that names no event is the first one's, which then comes alone: a poisonous one is found, and only it blocks",
  withDatabase(async (db) => {
    const { options } = await createTestWorker(db);
    const calls: number[][] = [];
    const handler: BatchHandler = (events) => {
      calls.push(events.map(({ seq }) => seq));
      if (events.some(({ seq }) => seq === 3)) throw new Error("poison");
    };
    await append(db, "a", 5);
    const twice = { ...options, ruleOf: always({ ...rule, attemptsMax: 3 }), batch: batchOf(handler) };
    await runUntil(db, twice, "a", "blocked");
    assert.deepEqual(calls, [[1, 2, 3, 4, 5], [1], [2, 3, 4, 5], [2], [3, 4, 5], [3], [3]]);
    assert.deepEqual((await attemptsOf(db, "a")).slice(0, 2), [2, 2]);
    assert.equal((await accountRow(db, "a"))?.["processed_seq"], 2);
  }),
);

test(
  "one that is given up for good becomes a dead letter, and the rest of its batch goes on",
  withDatabase(async (db) => {
    const { options } = await createTestWorker(db);
    const handler: BatchHandler = (events) => {
      const i = events.findIndex(({ seq }) => seq === 3);
      if (i >= 0) throw new BatchError(i, new DoNotRetryError("never"));
    };
    await append(db, "a", 5);
    await runTurn(
      { ...options, ruleOf: always({ ...rule, failurePolicy: "dead-letter" }), batch: batchOf(handler) },
      "a",
    );
    const rows = await db.query<{ outcome: string }>("select outcome from inturn.events order by seq");
    assert.deepEqual(
      rows.map(({ outcome }) => outcome),
      ["processed", "processed", "dead", "processed", "processed"],
    );
    await nothingIsOutOfOrder(db);
  }),
);

test(
  "a batch ends at its limits, where another rule begins, and before what is paused; a probe comes alone",
  withDatabase(async (db) => {
    const { options, pauses } = await createTestWorker(db);
    const calls: string[] = [];
    const handler: BatchHandler = (events) => void calls.push(events.map(({ seq }) => seq).join(" "));
    const other = { ...rule, attemptsMax: 2 };
    const ruleOf = (type: string | null) => (type === "other" ? other : rule);
    await append(db, "a", 3);
    await append(db, "a", 2, { type: "other" });
    await append(db, "a", 2, { type: "same" });
    await append(db, "a", 2, { data: JSON.stringify("x".repeat(60)) });
    await append(db, "a", 2, { type: "paused" });
    await insertPause(db.database, { covers: "type", value: "paused", who: "test" });
    await pauses.read(db.database);
    await runTurn({ ...options, ruleOf, batch: batchOf(handler, 2, 100) }, "a");
    assert.deepEqual(calls, ["1 2", "3", "4 5", "6 7", "8", "9"]);

    calls.length = 0;
    await append(db, "b", 3);
    const targets = Object.assign(Object.create(options.targets), { isAway: () => true, enter: async () => "probe" });
    await runTurn(
      { ...options, targets: { ...targets, endProbe: async () => undefined }, batch: batchOf(handler) },
      "b",
    );
    assert.equal(calls[0], "1");
  }),
);

test(
  "an answer that makes no sense settles nothing and says so; a batch cut short by the worker loses no attempt",
  withDatabase(async (db) => {
    const { options } = await createTestWorker(db);
    await append(db, "a", 3);
    const beyond: BatchHandler = () => {
      throw new BatchError(3, new Error("x"));
    };
    await runTurn({ ...options, ruleOf: always({ ...rule, attemptsMax: 1 }), batch: batchOf(beyond) }, "a");
    const [row] = await db.query("select state, processed_seq, head_error from inturn.accounts");
    assert.equal(row?.["state"], "blocked");
    assert.match(
      String(row?.["head_error"]),
      /threw BatchError\(3\), and its batch had 3 events; none of them is settled/,
    );

    await append(db, "b", 3);
    const interrupted = new AbortController();
    const stopped: BatchHandler = (_events, { signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => reject(new Error("told to stop")));
        setImmediate(() => interrupted.abort());
      });
    await runTurn({ ...options, interrupted: interrupted.signal, batch: batchOf(stopped) }, "b");
    const [held] = await db.query(
      "select state, processed_seq, head_attempts, attempts_forgiven from inturn.accounts where id = 'b'",
    );
    assert.deepEqual(held, { state: "scheduled", processed_seq: 0, head_attempts: 1, attempts_forgiven: 1 });
  }),
);

test("a module says how much its handler wants together", async () => {
  const folder = await mkdtemp(join(tmpdir(), "inturn-batch-"));
  const load = async (text: string, i: number) => {
    await writeFile(join(folder, `${i}.mjs`), text);
    return await loadHandler(join(folder, `${i}.mjs`));
  };
  try {
    const module = await load("export default (events) => events; export const batch = { eventsMax: 100 };", 1);
    assert.equal(module.batch?.eventsMax, 100);
    assert.equal(module.batch?.bytesMax, 262_144);
    assert.equal((await load("export default () => 1;", 2)).batch, undefined);
    await assert.rejects(load("export default () => 1; export const batch = { eventsMax: 0, size: 1 };", 3), {
      code: "handler_invalid",
      message: /The batch of .*eventsMax: .*size/s,
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});
