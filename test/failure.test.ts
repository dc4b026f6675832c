/**
 * What becomes of an event whose handler fails: retries, and when they are used up block, dead letter or park; and what
 * a handler can do to its worker: nothing.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { reconcileOnce } from "../src/db/reconcile.ts";
import type { RetryRule } from "../src/domain/failure.ts";
import { runTurn } from "../src/engine/turn.ts";
import type { TurnOptions } from "../src/engine/turn-options.ts";
import { DoNotRetryError, RetryAtError } from "../src/errors/retry.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";
import { appendTo, countWoken, createTestWorker, expireLease, rule } from "./support/worker.ts";

type Handler = TurnOptions["handler"];

/** Runs turns of an account, each as soon as its time has come, until it rests: idle or blocked. */
async function runToRest(db: TestDatabase, worker: { options: TurnOptions }, accountId = "a"): Promise<string> {
  for (;;) {
    await db.query("update inturn.accounts set next_attempt_at = clock_timestamp() where state = 'retrying'");
    await runTurn(worker.options, accountId);
    const [account] = await db.query<{ state: string }>("select state from inturn.accounts where id = $1", [accountId]);
    if (account?.state === "idle" || account?.state === "blocked") return account.state;
  }
}

async function createFailing(db: TestDatabase, options: { handler: Handler; rule?: Partial<RetryRule> }) {
  const { options: turn } = await createTestWorker(db);
  return { options: { ...turn, handler: options.handler, ruleOf: () => ({ ...rule, ...options.rule }) } };
}

async function states(db: TestDatabase): Promise<unknown[]> {
  return await db.query("select seq, state, attempts from inturn.event_results order by account_id, seq");
}

test(
  "block: when its attempts are used up an account stops at its head, and stays there until a person comes",
  withDatabase(async (db) => {
    const calls: number[] = [];
    const handler: Handler = (event, { attempt }) => {
      calls.push(event.seq * 100 + attempt);
      if (event.seq === 2) throw new Error("poison");
    };
    const worker = await createFailing(db, { handler, rule: { attemptsMax: 3 } });
    await appendTo(db, "a", "a", "a");
    assert.equal(await runToRest(db, worker), "blocked");
    assert.deepEqual(calls, [101, 201, 202, 203]);
    const [account] = await db.query(
      `select state, processed, pending, dead, head_seq, head_attempts, head_error, blocked_since is not null as dated
       from inturn.account_results`,
    );
    assert.deepEqual(account, {
      state: "blocked",
      processed: 1,
      pending: 2,
      dead: 0,
      head_seq: 2,
      head_attempts: 3,
      head_error: "Error: poison",
      dated: true,
    });
    // Neither time nor the reconciler nor new events free it.
    await db.query("update inturn.accounts set state_since = now() - interval '10 years'");
    await appendTo(db, "a");
    await reconcileOnce(db.database, { judges: true });
    assert.equal(await countWoken(db), 0);
    await runTurn(worker.options, "a");
    assert.deepEqual(calls.length, 4);
    // Wake-ups of earlier epochs lie around, for nobody dispatches here; of this epoch there is none.
    assert.deepEqual(await db.query("select key from graphile_worker.jobs where key = 'a#3'"), []);
  }),
);

test(
  "dead-letter: the event is set aside with its reason, and the account goes on in order, in the same turn",
  withDatabase(async (db) => {
    const done: number[] = [];
    const handler: Handler = (event) => {
      if (event.seq === 2) throw new Error("poison");
      done.push(event.seq);
    };
    const worker = await createFailing(db, { handler, rule: { attemptsMax: 2, failurePolicy: "dead-letter" } });
    await appendTo(db, "a", "a", "a");
    assert.equal(await runToRest(db, worker), "idle");
    assert.deepEqual(done, [1, 3]);
    assert.deepEqual(await states(db), [
      { seq: 1, state: "processed", attempts: 1 },
      { seq: 2, state: "dead", attempts: 2 },
      { seq: 3, state: "processed", attempts: 1 },
    ]);
    const [account] = await db.query("select processed, pending, dead, events from inturn.account_results");
    assert.deepEqual(account, { processed: 2, pending: 0, dead: 1, events: 3 });
    assert.deepEqual(await db.query("select account_id, seq, attempts, error from inturn.dead_letters"), [
      { account_id: "a", seq: 2, attempts: 2, error: "Error: poison" },
    ]);
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
  }),
);

test(
  "park: the account is blocked for a time; then the event is a dead letter and the rest goes on",
  withDatabase(async (db) => {
    const done: number[] = [];
    const handler: Handler = (event) => {
      if (event.seq === 1) throw new Error("poison");
      done.push(event.seq);
    };
    const worker = await createFailing(db, {
      handler,
      rule: { attemptsMax: 1, failurePolicy: "park", parkMs: 60_000 },
    });
    await appendTo(db, "a", "a");
    assert.equal(await runToRest(db, worker), "blocked");
    assert.equal((await reconcileOnce(db.database, { judges: true })).unparked, 0);
    await db.query("update inturn.accounts set parked_until = clock_timestamp() - interval '1 ms'");
    assert.equal((await reconcileOnce(db.database, { judges: true })).unparked, 1);
    assert.deepEqual(await db.query("select key from graphile_worker.jobs where key = 'a#1'"), [{ key: "a#1" }]);
    assert.equal(await runToRest(db, worker), "idle");
    assert.deepEqual(done, [2]);
    assert.deepEqual(await db.query("select seq, attempts, error from inturn.dead_letters"), [
      { seq: 1, attempts: 1, error: "Error: poison" },
    ]);
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
  }),
);

for (const [what, error] of [
  ["DoNotRetryError", new DoNotRetryError("card expired")],
  ["an error with retry: false", Object.assign(new Error("card expired"), { retry: false })],
] as const) {
  test(
    `${what} gives up at the first attempt`,
    withDatabase(async (db) => {
      const worker = await createFailing(db, { handler: () => Promise.reject(error) });
      await appendTo(db, "a");
      assert.equal(await runToRest(db, worker), "blocked");
      assert.deepEqual(await states(db), [{ seq: 1, state: "pending", attempts: 1 }]);
    }),
  );
}

test(
  "RetryAtError says when to try again, and the database keeps to it",
  withDatabase(async (db) => {
    const handler: Handler = () => Promise.reject(new RetryAtError("busy", new Date(Date.now() + 3_600_000)));
    const worker = await createFailing(db, { handler });
    await appendTo(db, "a");
    await runTurn(worker.options, "a");
    const [account] = await db.query<{ seconds: number }>(
      "select extract(epoch from next_attempt_at - clock_timestamp())::float8 as seconds from inturn.accounts where state = 'retrying'",
    );
    assert.ok(account !== undefined && Math.abs(account.seconds - 3_600) < 60, String(account?.seconds));
  }),
);

test(
  "a handler that takes too long is told so and its attempt has failed, also if it never ends",
  withDatabase(async (db) => {
    const reasons: string[] = [];
    const handler: Handler = async (event, { signal }) => {
      if (event.accountId === "deaf") return await new Promise(() => undefined);
      await sleep(60_000, undefined, { signal }).catch(() => reasons.push(String(signal.reason)));
      throw new Error("stopped in the middle");
    };
    const worker = await createFailing(db, { handler, rule: { attemptsMax: 1, handlerTimeoutMs: 50 } });
    await appendTo(db, "deaf", "polite");
    assert.deepEqual(await Promise.all(["deaf", "polite"].map((id) => runToRest(db, worker, id))), [
      "blocked",
      "blocked",
    ]);
    const reason = "InturnError: the handler took longer than 50 ms";
    assert.deepEqual(reasons, [reason]);
    const message = `${reason} [handler_timed_out]`;
    assert.deepEqual(await db.query("select head_error from inturn.account_results"), [
      { head_error: message },
      { head_error: message },
    ]);
  }),
);

test(
  "whatever a handler throws, its account waits and says why",
  withDatabase(async (db) => {
    const thrown: Record<string, unknown> = {
      nothing: undefined,
      null: null,
      number: 7,
      nul: new Error("a\0b"),
      surrogate: new Error("half \ud800"),
      huge: new Error("x".repeat(10_000_000)),
      untellable: {
        toString() {
          throw new Error("no");
        },
      },
    };
    const handler: Handler = (event) => Promise.reject(thrown[event.accountId]);
    const worker = await createFailing(db, { handler, rule: { attemptsMax: 1 } });
    await appendTo(db, ...Object.keys(thrown));
    await Promise.all(Object.keys(thrown).map((id) => runToRest(db, worker, id)));
    const rows = await db.query<{ account_id: string; head_error: string }>(
      "select account_id, head_error from inturn.account_results where state = 'blocked'",
    );
    const errors = Object.fromEntries(rows.map((row) => [row.account_id, row.head_error]));
    assert.equal(errors["huge"]?.length, 2_000);
    assert.deepEqual(
      { ...errors, huge: "" },
      {
        nothing: "undefined",
        null: "null",
        number: "7",
        nul: "Error: a�b",
        surrogate: "Error: half �",
        huge: "",
        untellable: "something was thrown that cannot be turned into text",
      },
    );
  }),
);

test(
  "an event that kills its worker every time is given up like one that fails, and rests longer after each death",
  withDatabase(async (db) => {
    const called: number[] = [];
    const ruleOf = () => ({ ...rule, attemptsMax: 3 });
    const worker = await createFailing(db, {
      handler: (_event, { attempt }) => void called.push(attempt),
      rule: ruleOf(),
    });
    await appendTo(db, "a");
    const rests: string[] = [];
    const end = Promise.withResolvers<void>();
    for (let death = 0; death < 3; death++) {
      const doomed = await createTestWorker(db);
      await db.query("update inturn.accounts set next_attempt_at = clock_timestamp() where state = 'retrying'");
      const deadly: Handler = (_event, { attempt }) => {
        called.push(attempt);
        return end.promise;
      };
      void runTurn({ ...doomed.options, handler: deadly, ruleOf }, "a");
      await until("the handler was called", () => called.length > death);
      await expireLease(db, doomed.id);
      assert.equal((await reconcileOnce(db.database, { judges: true })).takenOver, 1);
      const [account] = await db.query<{ state: string }>("select state from inturn.accounts");
      rests.push(account?.state ?? "");
    }
    end.resolve();
    assert.deepEqual(rests, ["scheduled", "retrying", "retrying"]);
    assert.equal(await runToRest(db, worker), "blocked");
    assert.deepEqual(called, [1, 2, 3], "it is not tried a fourth time");
    assert.deepEqual(await db.query("select head_attempts from inturn.account_results"), [{ head_attempts: 3 }]);
  }),
);

test(
  "an attempt that the worker itself cut short is told to the handler, and does not count towards the limit",
  withDatabase(async (db) => {
    const { options } = await createTestWorker(db);
    const attempts: number[] = [];
    const handler: Handler = async (_event, { attempt, signal }) => {
      attempts.push(attempt);
      if (attempt < 6) await sleep(60_000, undefined, { signal });
    };
    await appendTo(db, "a");
    for (let stop = 0; stop < 6; stop++) {
      const interrupted = new AbortController();
      const turn = {
        ...options,
        handler,
        interrupted: interrupted.signal,
        ruleOf: () => ({ ...rule, attemptsMax: 2 }),
      };
      const running = runTurn(turn, "a");
      await until("the handler runs", () => attempts.length > stop);
      interrupted.abort(new Error("the worker stops"));
      await running;
    }
    assert.deepEqual(attempts, [1, 2, 3, 4, 5, 6]);
    assert.deepEqual(await states(db), [{ seq: 1, state: "processed", attempts: 6 }]);
  }),
);
