/**
 * What is remembered of attempts that failed: when, of which worker, with what error, and what followed.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { pruneStep } from "../src/db/prune.ts";
import { reconcileOnce } from "../src/db/reconcile.ts";
import type { HandlerContext } from "../src/engine/handler.ts";
import { runTurn } from "../src/engine/turn.ts";
import { DoNotRetryError, RetryAtError, TargetAwayError } from "../src/errors/retry.ts";
import { createTestApp } from "./support/app.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";
import { appendTo, createTestWorker, expireLease, rule } from "./support/worker.ts";

const remembered = async (db: TestDatabase) =>
  await db.query("select seq, attempt, next, error from inturn.failed_attempts order by account_id, seq, attempt");

const isDue = async (db: TestDatabase) =>
  await until(
    "it is due",
    async () => (await db.query("select from inturn.accounts where next_attempt_at > clock_timestamp()")).length === 0,
  );

test(
  "each attempt that fails is remembered with what followed, and an event that goes well writes nothing",
  withDatabase(async (db) => {
    const { id, options } = await createTestWorker(db);
    const errors = [
      new Error("one"),
      new RetryAtError("two", new Date(), { countsAttempt: false }),
      new DoNotRetryError("three"),
    ];
    const handler = (_event: unknown, { attempt }: HandlerContext) => {
      const error = errors[attempt - 1];
      if (error !== undefined) throw error;
    };
    const turn = { ...options, handler, ruleOf: () => ({ ...rule, failurePolicy: "dead-letter" as const }) };
    await appendTo(db, "a");
    for (let i = 0; i < 3; i++) {
      await isDue(db);
      await runTurn(turn, "a");
    }
    assert.deepEqual(await remembered(db), [
      { seq: 1, attempt: 1, next: "retry", error: "Error: one" },
      { seq: 1, attempt: 2, next: "snooze", error: "RetryAtError: two" },
      { seq: 1, attempt: 3, next: "dead-letter", error: "DoNotRetryError: three" },
    ]);
    const [first] = await db.query<{ worker: string; sane: boolean }>(
      "select worker_id as worker, started_at <= ended_at and ended_at - started_at < interval '5 s' as sane from inturn.failed_attempts where attempt = 1",
    );
    assert.deepEqual(first, { worker: id, sane: true });
    await appendTo(db, "b");
    errors.length = 0;
    await runTurn(turn, "b");
    assert.deepEqual(await db.query("select from inturn.failed_attempts where account_id = 'b'"), []);

    const app = createTestApp(db.database);
    const response = await app.request("/v1/accounts/a/events/1/attempts");
    const { attempts } = (await response.json()) as { attempts: Record<string, unknown>[] };
    assert.deepEqual(
      attempts.map(({ attempt, next, workerId }) => [attempt, next, workerId === id]),
      [
        [1, "retry", true],
        [2, "snooze", true],
        [3, "dead-letter", false],
      ],
    );
    assert.match(String(attempts[0]?.["startedAt"]), /^\d{4}-\d\d-\d\dT/);
    for (const seq of ["2", "0", "x"])
      assert.equal((await app.request(`/v1/accounts/a/events/${seq}/attempts`)).status, 404);
    const page = await (await app.request("/accounts/a?after=0")).text();
    assert.match(page, /Attempts that failed.*Error: one.*put off, not counted.*dead letter/s);
    assert.equal([...page.matchAll(/<rect class="failed"/g)].length, 3);
  }),
);

test(
  "of each event the last twenty are kept, for as long as the event is; waits for a target and lost workers are among them",
  withDatabase(async (db) => {
    const { options } = await createTestWorker(db);
    let fails: Error | undefined = new Error("again");
    const handler = () => {
      if (fails !== undefined) throw fails;
    };
    await appendTo(db, "a");
    for (let i = 0; i < 25; i++) {
      await isDue(db);
      await runTurn({ ...options, handler }, "a");
    }
    const rows = await remembered(db);
    assert.deepEqual([rows.length, rows[0]?.["attempt"], rows.at(-1)?.["attempt"]], [20, 6, 25]);

    const doomed = await createTestWorker(db);
    await isDue(db);
    const { promise: dead, resolve: end } = Promise.withResolvers<void>();
    const ended = runTurn({ ...doomed.options, handler: () => dead }, "a");
    await until(
      "it runs",
      async () => (await db.query("select from inturn.accounts where state = 'running' and head_started")).length === 1,
    );
    await expireLease(db, doomed.id);
    await reconcileOnce(db.database, { judges: true });
    end();
    await ended;
    const [lost] = await db.query("select next, worker_id from inturn.failed_attempts where attempt = 26");
    assert.deepEqual(lost, { next: "lost", worker_id: doomed.id });

    await db.query("update inturn.accounts set state = 'scheduled', next_attempt_at = null");
    fails = new TargetAwayError("stripe");
    await runTurn({ ...options, handler }, "a");
    const [waited] = await db.query("select next from inturn.failed_attempts where attempt = 27");
    assert.deepEqual(waited, { next: "wait" });

    await db.query("update inturn.accounts set state = 'scheduled'");
    await db.query("delete from inturn.targets");
    await options.targets.look();
    fails = undefined;
    await runTurn({ ...options, handler }, "a");
    await db.query(
      "update inturn.events set processed_at = processed_at - interval '9 days', received_at = received_at - interval '9 days'",
    );
    assert.equal((await pruneStep(db.database, { afterAccountId: "", keepDays: 1 })).events, 1);
    assert.deepEqual(await remembered(db), []);
  }),
);
