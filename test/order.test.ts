/**
 * The heart of it: whatever the schedule, each account's events are settled exactly once, in exactly the order 1, 2, 3, …
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { reconcileOnce } from "../src/db/reconcile.ts";
import { runTurn } from "../src/engine/turn.ts";
import type { TurnOptions } from "../src/engine/turn-options.ts";
import { BatchError } from "../src/errors/retry.ts";
import { withDatabase } from "./support/database.ts";
import { oneTo } from "./support/effects.ts";
import {
  accountRow,
  appendTo,
  countWoken,
  createTestWorker,
  expireLease,
  rule,
  slowly,
  wellDone,
} from "./support/worker.ts";

test(
  "over random schedules with failures, stolen leases and late writers, every account is settled as 1, 2, 3, … exactly",
  withDatabase(async (db) => {
    const schedule = fc.record({
      batches: fc.array(fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 8 }), {
        minLength: 1,
        maxLength: 8,
      }),
      workers: fc.integer({ min: 2, max: 4 }),
      // What the handler of the nth call does: ms to take, or -1 to fail.
      handling: fc.array(fc.constantFrom(0, 0, 1, 5, -1), { minLength: 5, maxLength: 20 }),
      // How many events of an account the handler gets together.
      together: fc.constantFrom(1, 3, 100),
      // How many events of an account may be handled and not settled.
      unsettledMax: fc.constantFrom(1, 1, 3, 50),
      // Which worker loses its lease, again and again.
      thefts: fc.array(fc.nat({ max: 3 }), { maxLength: 12 }),
    });
    await fc.assert(
      fc.asyncProperty(schedule, async ({ batches, workers: count, handling, together, unsettledMax, thefts }) => {
        await db.query("truncate inturn.accounts, inturn.events, inturn.workers");
        const settled: Record<string, number[]> = {};
        const expected: Record<string, number> = {};
        let calls = 0;
        const workers = await Promise.all(
          Array.from({ length: count }, () =>
            createTestWorker(db, (accountId, seq) => (settled[accountId] ??= []).push(seq)),
          ),
        );
        const handler = async (events: readonly unknown[] = []) => {
          const step = handling[calls++ % handling.length] ?? 0;
          if (step > 0) await sleep(step);
          // Later calls succeed, so that every schedule ends.
          if (step < 0 && calls < 60) throw new BatchError(calls % Math.max(1, events.length), "as the schedule says");
        };
        const batch = together === 1 ? undefined : { handler, eventsMax: together, bytesMax: 262_144 };
        let appended = false;
        const isDone = async () => {
          // Asked before the question: an answer from before the last append would look like the end.
          if (!appended) return false;
          const [row] = await db.query<{ left: number }>(
            "select coalesce(sum(last_seq - processed_seq), 0)::bigint as left from inturn.accounts",
          );
          return row?.left === 0;
        };
        const appending = (async () => {
          for (const accounts of batches) {
            await appendTo(db, ...accounts);
            for (const account of accounts) expected[account] = (expected[account] ?? 0) + 1;
          }
          appended = true;
        })();
        // Everybody tries every account all the time: far more wake-ups than a dispatcher would send.
        const working = workers.map(async ({ options }) => {
          while (!(await isDone())) {
            await Promise.all(
              ["a", "b", "c"].map((accountId) =>
                runTurn(
                  {
                    ...options,
                    handler: async () => await handler(),
                    batch,
                    ruleOf: () => ({ ...rule, unsettledMax }),
                  },
                  accountId,
                ),
              ),
            );
          }
        });
        const stealing = (async () => {
          for (const victim of thefts) {
            const worker = workers[victim % count];
            if (worker === undefined) continue;
            await expireLease(db, worker.id);
            await reconcileOnce(db.database, { judges: true });
            await worker.renew();
          }
        })();
        await Promise.all([appending, stealing, ...working]);
        assert.deepEqual(settled, Object.fromEntries(Object.entries(expected).map(([id, n]) => [id, oneTo(n)])));
        assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
      }),
      { numRuns: 25 },
    );
  }),
);

test(
  "a claim takes an account once: the second gets nothing, and the attempt and the epoch count up",
  withDatabase(async (db) => {
    const [one, two] = [await createTestWorker(db), await createTestWorker(db)];
    await appendTo(db, "a");
    const leases = await Promise.all([one.options.ledger.claim("a"), two.options.ledger.claim("a")]);
    const lease = leases.find((claimed) => claimed !== undefined);
    assert.equal(leases.filter((claimed) => claimed === undefined).length, 1);
    assert.deepEqual([lease?.epoch, lease?.attempt, lease?.processedSeq], [1, 1, 0]);
    assert.equal(await one.options.ledger.claim("nobody"), undefined);
  }),
);

test(
  "a claim that comes while the append is still committing waits for it: no wake-up comes too early",
  withDatabase(async (db) => {
    const worker = await createTestWorker(db);
    await appendTo(db, "a");
    await runTurn(worker.options, "a");
    const client = await db.database.connect();
    await client.query("begin");
    await client.query("select * from inturn.append_event('a', '{}')");
    const claiming = worker.options.ledger.claim("a");
    await client.query("select pg_sleep(0.05)");
    await client.query("commit");
    client.release();
    assert.equal((await claiming)?.epoch, 2);
  }),
);

test(
  "an event that arrives while its account is handled is handled in the same turn",
  withDatabase(async (db) => {
    const worker = await createTestWorker(db);
    await appendTo(db, "a");
    const epochs: number[] = [];
    const handler: TurnOptions["handler"] = async (event, { epoch }) => {
      epochs.push(epoch);
      if (event.seq < 3) await appendTo(db, "a");
    };
    await runTurn({ ...worker.options, handler }, "a");
    assert.deepEqual(epochs, [1, 1, 1]);
    assert.deepEqual(await accountRow(db, "a"), {
      state: "idle",
      last_seq: 3,
      processed_seq: 3,
      epoch: 1,
      head_attempts: 0,
      leased: false,
    });
  }),
);

test(
  "a worker that lost its lease changes nothing: not by a settle, not by giving back",
  withDatabase(async (db) => {
    const [late, next] = [await createTestWorker(db), await createTestWorker(db)];
    await appendTo(db, "a", "a");
    const stale = await late.options.ledger.claim("a");
    await expireLease(db, late.id);
    assert.deepEqual(await reconcileOnce(db.database, { judges: true }), {
      workersGone: 1,
      takenOver: 1,
      unparked: 0,
    });
    await late.renew();
    const settlement = wellDone({ accountId: "a", epoch: stale?.epoch ?? 0, seq: 1 });
    // Between takeover and the next claim the epoch is still the same: the state alone must stop the late writer.
    assert.equal(await late.options.ledger.settle(settlement), undefined);
    const fresh = await next.options.ledger.claim("a");
    assert.equal(fresh?.epoch, 2);
    assert.equal(fresh.attempt, 2);
    const before = await accountRow(db, "a");
    assert.equal(await late.options.ledger.settle(settlement), undefined);
    assert.equal(
      await late.options.ledger.giveBack({ accountId: "a", epoch: 1, failure: null, startedSeq: 1, forgives: false }),
      false,
    );
    assert.deepEqual(await accountRow(db, "a"), before);
    // The same worker, once late and once rightful: only the epoch tells its two leases apart.
    const own = { accountId: "a", failure: null, startedSeq: 1, forgives: false };
    assert.equal(await next.options.ledger.giveBack({ ...own, epoch: 1 }), false);
    assert.deepEqual(await accountRow(db, "a"), before);
    assert.equal(await next.options.ledger.giveBack({ ...own, epoch: 2 }), true);
  }),
);

test(
  "a stale settle and the rightful one can share a statement: each hears its own answer",
  withDatabase(async (db) => {
    const worker = await createTestWorker(db);
    await appendTo(db, "a");
    await worker.options.ledger.claim("a");
    const settlement = wellDone({ accountId: "a", epoch: 1, seq: 1 });
    const answers = await Promise.all([
      worker.options.ledger.settle({ ...settlement, epoch: 0 }),
      worker.options.ledger.settle({ ...settlement, epoch: 1 }),
      worker.options.ledger.settle({ ...settlement, epoch: 2 }),
    ]);
    assert.deepEqual(
      answers.map((answer) => answer?.state),
      [undefined, "idle", undefined],
    );
  }),
);

test(
  "a failed event stays the head: its account waits with a wake-up for the next attempt, and no later event passes it",
  withDatabase(async (db) => {
    const worker = await createTestWorker(db);
    await appendTo(db, "a", "a");
    const seen: [number, number][] = [];
    const handler: TurnOptions["handler"] = (event, { attempt }) => {
      seen.push([event.seq, attempt]);
      if (event.seq === 1 && attempt < 3) throw new Error("not yet");
    };
    await runTurn({ ...worker.options, handler, ruleOf: slowly }, "a");
    assert.deepEqual(await accountRow(db, "a"), {
      state: "retrying",
      last_seq: 2,
      processed_seq: 0,
      epoch: 1,
      head_attempts: 1,
      leased: false,
    });
    const [job] = await db.query<{ waits: boolean; due: boolean }>(
      `select run_at > now() as waits, run_at = next_attempt_at as due
       from graphile_worker.jobs, inturn.accounts where key = 'a#1'`,
    );
    assert.deepEqual(job, { waits: true, due: true });
    assert.equal(await worker.options.ledger.claim("a"), undefined, "it is not claimed before its time");
    while (seen.length < 4) {
      // The time has come: nobody sleeps to see a retry.
      await db.query("update inturn.accounts set next_attempt_at = clock_timestamp() where state = 'retrying'");
      await runTurn({ ...worker.options, handler, ruleOf: slowly }, "a");
    }
    assert.deepEqual(seen, [
      [1, 1],
      [1, 2],
      [1, 3],
      [2, 1],
    ]);
    const [view] = await db.query("select attempts from inturn.event_results where seq = 1");
    assert.deepEqual(view, { attempts: 3 });
  }),
);

test(
  "a turn gives way when places are short, and keeps its account when they are not",
  withDatabase(async (db) => {
    const worker = await createTestWorker(db);
    await appendTo(db, ...Array.from({ length: 150 }, () => "hot"), ...Array.from({ length: 150 }, () => "warm"));
    await runTurn({ ...worker.options, isCrowded: () => true }, "hot");
    await runTurn({ ...worker.options, isCrowded: () => false }, "warm");
    const hot = await accountRow(db, "hot");
    assert.deepEqual([hot?.["state"], hot?.["processed_seq"], hot?.["head_attempts"]], ["scheduled", 100, 0]);
    assert.equal((await accountRow(db, "warm"))?.["processed_seq"], 150);
    assert.deepEqual(await db.query("select key from graphile_worker.jobs where key = 'hot#1'"), [{ key: "hot#1" }]);
  }),
);

test(
  "the reconciler wakes whoever was forgotten, once, and lets alone whoever has a wake-up",
  withDatabase(async (db) => {
    await appendTo(db, "a", "b", "c");
    await db.query("update inturn.accounts set state_since = now() - interval '1 minute'");
    assert.equal(await countWoken(db), 0);
    await db.query("delete from graphile_worker._private_jobs where key in ('a#0', 'b#0')");
    await db.query(
      "update graphile_worker._private_jobs set locked_at = now() - interval '1 minute', locked_by = 'dead' where key = 'c#0'",
    );
    assert.equal(await countWoken(db), 3);
    assert.equal(await countWoken(db), 0);
    assert.deepEqual(await db.query("select key from graphile_worker.jobs where locked_at is null order by key"), [
      { key: "a#0" },
      { key: "b#0" },
      { key: "c#0" },
    ]);
  }),
);
