/** Turns that go ahead of their settles: `unsettledMax` above 1. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { reconcileOnce } from "../src/db/reconcile.ts";
import type { Settlement } from "../src/db/settle-statement.ts";
import { runTurn } from "../src/engine/turn.ts";
import type { TurnOptions } from "../src/engine/turn-options.ts";
import { DoNotRetryError } from "../src/errors/retry.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { oneTo } from "./support/effects.ts";
import { until } from "./support/until.ts";
import { accountRow, createTestWorker, expireLease, rule } from "./support/worker.ts";

const append = async (db: TestDatabase, accountId: string, types: readonly string[]) =>
  await appendEvents(
    db.database,
    types.map((type) => newEvent({ accountId, data: "{}", type })),
  );

const many = (count: number, type = "ahead"): string[] => Array.from({ length: count }, () => type);

/** Everything may go ahead this far but the type `strict`. */
const goingAhead = (unsettledMax: number) => (type: string | null) => ({
  ...rule,
  unsettledMax: type === "strict" ? 1 : unsettledMax,
});

const settledSeq = async (db: TestDatabase, accountId: string) => (await accountRow(db, accountId))?.["processed_seq"];

const columnOf = async (db: TestDatabase, column: "attempts" | "unsettled_before") =>
  (
    await db.query<{ value: number | null }>(
      `select ${column} as value from inturn.events where account_id = 'a' order by seq`,
    )
  ).map(({ value }) => value);

const nothingIsOutOfOrder = async (db: TestDatabase) =>
  assert.deepEqual(await db.query("select * from inturn.order_violations"), []);

/** Options whose settles wait at a gate, one after the other, each written down with what it settles. */
function gated(options: TurnOptions) {
  const settles: number[][] = [];
  let underWay = 0;
  const open = Promise.withResolvers<void>();
  const ledger: TurnOptions["ledger"] = {
    ...options.ledger,
    async settle(settlement: Settlement) {
      assert.equal((underWay += 1), 1, "two settles of one account at once");
      settles.push(settlement.calls.map(({ seq }) => seq));
      await open.promise;
      const settled = await options.ledger.settle(settlement);
      underWay -= 1;
      return settled;
    },
  };
  return {
    options: { ...options, ledger },
    settles,
    open: () => open.resolve(),
  };
}

/** Resolves when nothing has happened for a few rounds of events. */
const stillness = async () => await sleep(30);

test(
  "as many calls begin ahead of their settles as the rule allows, and one settle takes all that are done",
  withDatabase(async (db) => {
    const worker = await createTestWorker(db);
    const { options, settles, open } = gated(worker.options);
    await append(db, "a", many(10));
    const handled: number[] = [];
    const handler: TurnOptions["handler"] = async ({ seq }) => {
      handled.push(seq);
      // Long enough for a settle to set out between two calls.
      await sleep(2);
    };
    const turn = runTurn({ ...options, handler, ruleOf: goingAhead(4) }, "a");
    await until("four were handled", () => handled.length === 4);
    await stillness();
    assert.deepEqual([handled, settles, await settledSeq(db, "a")], [[1, 2, 3, 4], [[1]], 0]);
    open();
    await turn;
    assert.deepEqual(handled, oneTo(10));
    assert.deepEqual(settles.flat(), oneTo(10));
    assert.deepEqual(settles[1], [2, 3, 4]);
    assert.deepEqual((await columnOf(db, "unsettled_before")).slice(0, 5), [null, 1, 2, 3, null]);
    assert.deepEqual(
      await columnOf(db, "attempts"),
      oneTo(10).map(() => 1),
    );
    assert.equal((await accountRow(db, "a"))?.["state"], "idle");
    await nothingIsOutOfOrder(db);
  }),
);

test(
  "without the setting, and for a type that is strict, a call begins after the settle of the one before and before the next",
  withDatabase(async (db) => {
    const worker = await createTestWorker(db);
    await append(db, "a", ["ahead", "ahead", "strict", "ahead", "ahead"]);
    await append(db, "b", many(3));
    const seen: [number, unknown][] = [];
    const handler: TurnOptions["handler"] = async ({ seq, accountId }) => {
      seen.push([seq, await settledSeq(db, accountId)]);
    };
    await runTurn({ ...worker.options, handler, ruleOf: goingAhead(10) }, "a");
    assert.deepEqual(
      [seen[2], seen[3]],
      [
        [3, 2],
        [4, 3],
      ],
    );
    assert.deepEqual(await columnOf(db, "unsettled_before"), [null, 1, null, null, 1]);
    seen.length = 0;
    await runTurn({ ...worker.options, handler }, "b");
    assert.deepEqual(seen, [
      [1, 0],
      [2, 1],
      [3, 2],
    ]);
    await nothingIsOutOfOrder(db);
  }),
);

test(
  "an event that fails is judged after all before it are settled: its attempts, its backoff and its dead letter are its own",
  withDatabase(async (db) => {
    const { options } = await createTestWorker(db);
    const schedule = fc.record({
      events: fc.integer({ min: 1, max: 120 }),
      ahead: fc.constantFrom(2, 7, 64, 1_000),
      failures: fc.array(fc.tuple(fc.integer({ min: 1, max: 120 }), fc.integer({ min: 1, max: 4 })), { maxLength: 6 }),
      slow: fc.array(fc.integer({ min: 1, max: 120 }), { maxLength: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(schedule, async ({ events, ahead, failures, slow }) => {
        await db.query("truncate inturn.accounts, inturn.events, inturn.attempts");
        const failing = new Map(failures);
        const left = new Map(failures);
        const handled: number[] = [];
        const isDead = (seq: number) => failing.get(seq) === 4;
        const handler: TurnOptions["handler"] = async ({ seq }, { attempt }) => {
          if (slow.includes(seq)) await sleep(3);
          const times = left.get(seq) ?? 0;
          if (times > 0) {
            assert.equal(attempt, (failing.get(seq) ?? 0) - times + 1);
            assert.equal(
              handled.at(-1),
              oneTo(seq - 1).findLast((before) => !isDead(before)),
            );
            left.set(seq, times - 1);
            // The fourth failure is its last.
            throw times === 1 && failing.get(seq) === 4 ? new DoNotRetryError("never") : new Error("as told");
          }
          handled.push(seq);
        };
        await append(db, "a", many(events));
        const deadLetters: TurnOptions["ruleOf"] = (type) => ({
          ...goingAhead(ahead)(type),
          failurePolicy: "dead-letter",
        });
        for (let turns = 0; (await accountRow(db, "a"))?.["state"] !== "idle"; turns += 1) {
          assert.ok(turns < 1_000, "the account does not come to its end");
          await runTurn({ ...options, handler, ruleOf: deadLetters }, "a");
        }
        assert.deepEqual(
          handled,
          oneTo(events).filter((seq) => !isDead(seq)),
        );
        assert.deepEqual(
          await columnOf(db, "attempts"),
          oneTo(events).map((seq) => (isDead(seq) ? 4 : 1 + (failing.get(seq) ?? 0))),
        );
        await nothingIsOutOfOrder(db);
      }),
      // A dead letter is handled by nobody, and what follows it may fail as well.
      {
        numRuns: 20,
        examples: [
          [
            {
              events: 36,
              ahead: 2,
              failures: [
                [36, 1],
                [35, 4],
              ],
              slow: [],
            },
          ],
        ],
      },
    );
  }),
);

test(
  "a worker that is gone leaves as many handled events unsettled as the rule allows: its heir handles them again, in order, strictly at first",
  withDatabase(async (db) => {
    const [lost, heir] = [await createTestWorker(db), await createTestWorker(db)];
    const { options, open } = gated(lost.options);
    await append(db, "a", many(12));
    const calls: { seq: number; attempt: number; settled: unknown }[] = [];
    const handlerOf =
      (): TurnOptions["handler"] =>
      async ({ seq }, { attempt }) => {
        calls.push({ seq, attempt, settled: await settledSeq(db, "a") });
      };
    const turn = runTurn({ ...options, handler: handlerOf(), ruleOf: goingAhead(5) }, "a");
    await until("five were handled", () => calls.length === 5);
    await stillness();
    assert.deepEqual(
      calls.map(({ seq }) => seq),
      oneTo(5),
    );
    await expireLease(db, lost.id);
    await reconcileOnce(db.database, { judges: true });
    calls.length = 0;
    await runTurn({ ...heir.options, handler: handlerOf(), ruleOf: goingAhead(5) }, "a");
    open();
    await turn;
    assert.deepEqual(
      calls.map(({ seq, attempt, settled }) => [seq, attempt, settled]),
      oneTo(12).map((seq) => [seq, seq === 1 ? 2 : 1, seq - 1]),
    );
    await nothingIsOutOfOrder(db);
  }),
);

test(
  "a lease that was lost is noticed by the settle on its way: nothing more begins, and the account is left alone",
  withDatabase(async (db) => {
    const [lost, heir] = [await createTestWorker(db), await createTestWorker(db)];
    const { options, open } = gated(lost.options);
    await append(db, "a", many(6));
    const handled: number[] = [];
    const second = Promise.withResolvers<void>();
    const handler: TurnOptions["handler"] = async ({ seq }) => {
      handled.push(seq);
      if (seq === 2) await second.promise;
    };
    const turn = runTurn({ ...options, handler, ruleOf: goingAhead(10) }, "a");
    await until("two were begun", () => handled.length === 2);
    await expireLease(db, lost.id);
    await reconcileOnce(db.database, { judges: true });
    const lease = await heir.options.ledger.claim("a");
    assert.equal(lease?.processedSeq, 0);
    open();
    await stillness();
    second.resolve();
    await turn;
    assert.deepEqual(handled, [1, 2]);
    const row = await accountRow(db, "a");
    assert.deepEqual([row?.["state"], row?.["epoch"], row?.["processed_seq"]], ["running", lease.epoch, 0]);
    await nothingIsOutOfOrder(db);
  }),
);

test(
  "a settle on its way that fails ends the turn after the call under way; what is not settled comes again, and counts as no breach",
  withDatabase(async (db) => {
    const worker = await createTestWorker(db);
    await append(db, "a", many(4));
    const handled: number[] = [];
    const begun = Promise.withResolvers<void>();
    const failed = Promise.withResolvers<void>();
    const handler: TurnOptions["handler"] = async ({ seq }) => {
      handled.push(seq);
      if (handled.length !== 2) return;
      begun.resolve();
      await failed.promise;
      await stillness();
    };
    let fails = true;
    const ledger: TurnOptions["ledger"] = {
      ...worker.options.ledger,
      settle: async (settlement) => {
        if (!fails) return await worker.options.ledger.settle(settlement);
        fails = false;
        await begun.promise;
        failed.resolve();
        throw new Error("as told");
      },
    };
    const options = { ...worker.options, ledger, handler, ruleOf: goingAhead(10) };
    assert.equal(await runTurn(options, "a"), false);
    assert.deepEqual(handled, [1, 2]);
    await db.query("update inturn.accounts set next_attempt_at = clock_timestamp()");
    await runTurn(options, "a");
    assert.deepEqual(handled.slice(2), oneTo(4));
    await nothingIsOutOfOrder(db);
  }),
);

test(
  "a handler's own transaction settles after all before it are settled",
  withDatabase(async (db) => {
    const worker = await createTestWorker(db);
    await db.query("create table effects (seq bigint, settled bigint)");
    await append(db, "a", many(6));
    const handler: TurnOptions["handler"] = async ({ seq }, { transaction }) => {
      if (seq % 3 !== 0) return;
      await transaction(async (client) => {
        await client.query("insert into effects select $1, processed_seq from inturn.accounts", [seq]);
      });
    };
    await runTurn({ ...worker.options, handler, ruleOf: goingAhead(10) }, "a");
    assert.deepEqual(await db.query("select seq, settled from effects order by seq"), [
      { seq: 3, settled: 2 },
      { seq: 6, settled: 5 },
    ]);
    assert.equal((await accountRow(db, "a"))?.["state"], "idle");
    await nothingIsOutOfOrder(db);
  }),
);

test(
  "a pause, and a worker that stops, end the turn with everything settled that was handled",
  withDatabase(async (db) => {
    const worker = await createTestWorker(db);
    await append(db, "a", many(20));
    await append(db, "b", many(20));
    const stopping = new AbortController();
    const handled: Record<string, number> = { a: 0, b: 0 };
    const handler: TurnOptions["handler"] = async ({ seq, accountId }) => {
      handled[accountId] = seq;
      if (seq !== 7) return;
      if (accountId === "a") await db.query("select inturn.pause('a')");
      else stopping.abort();
    };
    const options = { ...worker.options, handler, ruleOf: goingAhead(10) };
    await runTurn(options, "a");
    await runTurn({ ...options, stopping: stopping.signal }, "b");
    for (const accountId of ["a", "b"]) {
      const row = await accountRow(db, accountId);
      assert.deepEqual(
        [row?.["state"], row?.["processed_seq"], row?.["leased"]],
        ["scheduled", handled[accountId], false],
      );
    }
    assert.equal(handled["b"], 7);
    assert.ok((handled["a"] ?? 0) < 20);
    await nothingIsOutOfOrder(db);
  }),
);

test(
  "the view of breaches shows an event that began ahead of its settle before the one before it had ended",
  withDatabase(async (db) => {
    const worker = await createTestWorker(db);
    await append(db, "a", many(3));
    await runTurn({ ...worker.options, handler: () => sleep(5), ruleOf: goingAhead(10) }, "a");
    await nothingIsOutOfOrder(db);
    await db.query(
      "update inturn.events as e set started_at = e.started_at - interval '2 milliseconds' where e.seq = 2 and e.unsettled_before > 0",
    );
    const breaches = await db.query<{ seq: number; kind: string }>("select seq, kind from inturn.order_violations");
    assert.deepEqual(breaches, [{ seq: 2, kind: "overlap" }]);
  }),
);
