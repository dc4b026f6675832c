/**
 * The operator's verbs: what each one does to an account, when it refuses, and that it is recorded. As SQL functions,
 * which the API and the commands call.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { operate } from "../src/db/operate.ts";

import type { RetryRule } from "../src/domain/failure.ts";
import { carryOutVerb } from "../src/engine/operate.ts";
import { runTurn } from "../src/engine/turn.ts";
import type { TurnOptions } from "../src/engine/turn-options.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { oneTo } from "./support/effects.ts";
import { runProcess } from "./support/process.ts";
import { until } from "./support/until.ts";
import { appendTo, countWoken, createTestWorker, rule, wellDone } from "./support/worker.ts";

/** A worker whose handler fails at these seqs until it is told otherwise, and what it has handled. */
async function createOperated(db: TestDatabase, rules: Partial<RetryRule> = {}) {
  const { options } = await createTestWorker(db);
  const poison = new Set<number>();
  const calls: [seq: number, attempt: number][] = [];
  const handler: TurnOptions["handler"] = (event, { attempt }) => {
    calls.push([event.seq, attempt]);
    if (poison.has(event.seq)) throw new Error("poison");
  };
  const turn = { ...options, handler, ruleOf: () => ({ ...rule, attemptsMax: 1, ...rules }) };
  return { poison, calls, ledger: options.ledger, run: (accountId = "a") => runTurn(turn, accountId) };
}

async function verb(db: TestDatabase, call: string): Promise<unknown> {
  return (await db.query(`select state, seq from inturn.${call}`))[0];
}

async function refusal(db: TestDatabase, call: string): Promise<string> {
  try {
    return `done: ${JSON.stringify(await verb(db, call))}`;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

async function view(db: TestDatabase): Promise<Record<string, unknown> | undefined> {
  return (await db.query("select state, processed, pending, dead, head_seq from inturn.account_results"))[0];
}

async function countWakeUps(db: TestDatabase): Promise<number> {
  const [row] = await db.query<{ count: number }>(
    `select count(*) as count from graphile_worker.jobs j join inturn.accounts a on j.key = a.id || '#' || a.epoch
     where j.run_at <= now()`,
  );
  return row?.count ?? 0;
}

test(
  "pause: nobody claims the account, whatever wakes it, until it is resumed",
  withDatabase(async (db) => {
    const worker = await createOperated(db);
    await appendTo(db, "a");
    assert.deepEqual(await verb(db, "pause('a', why => 'a bad deploy', who => 'kim')"), { state: "paused", seq: 1 });
    await appendTo(db, "a");
    await db.query("update inturn.accounts set state_since = now() - interval '1 hour'");
    await db.query("delete from graphile_worker._private_jobs");
    assert.equal(await countWoken(db), 0);
    await worker.run();
    assert.equal(worker.calls.length, 0);
    assert.deepEqual(await view(db), { state: "paused", processed: 0, pending: 2, dead: 0, head_seq: 1 });
    assert.deepEqual(await verb(db, "resume('a', who => 'kim')"), { state: "scheduled", seq: 1 });
    assert.equal(await countWakeUps(db), 1);
    await worker.run();
    assert.deepEqual(
      worker.calls.map(([seq]) => seq),
      [1, 2],
    );
    assert.deepEqual(await db.query("select verb, account_id, seq, who, why from inturn.operator_log order by id"), [
      { verb: "pause", account_id: "a", seq: 1, who: "kim", why: "a bad deploy" },
      { verb: "resume", account_id: "a", seq: 1, who: "kim", why: null },
    ]);
  }),
);

test(
  "an account that is paused while it is idle is not woken by events, and handles them once it is resumed",
  withDatabase(async (db) => {
    const worker = await createOperated(db);
    await appendTo(db, "a");
    await worker.run();
    await db.query("delete from graphile_worker._private_jobs");
    assert.deepEqual(await verb(db, "pause('a')"), { state: "paused", seq: 2 });
    await appendTo(db, "a", "a");
    assert.equal(await countWakeUps(db), 0);
    await verb(db, "resume('a')");
    assert.equal(await countWakeUps(db), 1);
    await worker.run();
    assert.deepEqual(
      worker.calls.map(([seq]) => seq),
      [1, 2, 3],
    );
  }),
);

test(
  "pause, while an event is in hand: it comes to its end, the answer waits for it, and nothing after it starts",
  withDatabase(async (db) => {
    const { options } = await createTestWorker(db);
    const started: number[] = [];
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const handler: TurnOptions["handler"] = async (event) => {
      started.push(event.seq);
      await released;
    };
    await appendTo(db, "a", "a", "a");
    const turn = runTurn({ ...options, handler }, "a");
    await until("the first one has started", () => started.length === 1);
    const pausing = carryOutVerb(db.database, { verb: "pause", accountId: "a", who: "kim" });
    await until(
      "the pause is asked for",
      async () => (await db.query("select from inturn.accounts where paused_at is not null")).length === 1,
    );
    assert.equal((await view(db))?.["state"], "running");
    release();
    assert.deepEqual(await pausing, { state: "paused", seq: 1 });
    await turn;
    assert.deepEqual(started, [1]);
    assert.deepEqual(await view(db), { state: "paused", processed: 1, pending: 2, dead: 0, head_seq: 2 });
  }),
);

test(
  "retry: a blocked head has all its attempts again, and its handler knows which one it is",
  withDatabase(async (db) => {
    const worker = await createOperated(db, { attemptsMax: 2 });
    worker.poison.add(1);
    await appendTo(db, "a", "a");
    const runTwice = async () => {
      for (let i = 0; i < 2; i++) {
        await db.query("update inturn.accounts set next_attempt_at = clock_timestamp() where state = 'retrying'");
        await worker.run();
      }
    };
    await runTwice();
    assert.equal((await view(db))?.["state"], "blocked");
    assert.deepEqual(await verb(db, "retry('a')"), { state: "scheduled", seq: 1 });
    await runTwice();
    assert.equal((await view(db))?.["state"], "blocked", "two more attempts, and no more");
    worker.poison.clear();
    assert.deepEqual(await verb(db, "retry('a')"), { state: "scheduled", seq: 1 });
    assert.equal(await countWakeUps(db), 1);
    await worker.run();
    assert.deepEqual(worker.calls, [
      [1, 1],
      [1, 2],
      [1, 3],
      [1, 4],
      [1, 5],
      [2, 1],
    ]);
  }),
);

test(
  "retry: an account that waits for its next attempt waits no longer",
  withDatabase(async (db) => {
    const worker = await createOperated(db, { attemptsMax: 5, backoffMs: 3_600_000, backoffMsMax: 3_600_000 });
    worker.poison.add(1);
    await appendTo(db, "a");
    await worker.run();
    assert.equal(await countWakeUps(db), 0);
    worker.poison.clear();
    await verb(db, "retry('a')");
    assert.equal(await countWakeUps(db), 1);
    await worker.run();
    assert.deepEqual(worker.calls, [
      [1, 1],
      [1, 2],
    ]);
  }),
);

test(
  "skip: the head is left out, as skipped and with its error, and the next one is up",
  withDatabase(async (db) => {
    const worker = await createOperated(db);
    worker.poison.add(2);
    await appendTo(db, "a", "a", "a");
    await worker.run();
    assert.deepEqual(await verb(db, "skip('a')"), { state: "scheduled", seq: 2 });
    await worker.run();
    assert.deepEqual(
      worker.calls.map(([seq]) => seq),
      [1, 2, 3],
    );
    assert.deepEqual(await db.query("select state from inturn.event_results order by seq"), [
      { state: "processed" },
      { state: "skipped" },
      { state: "processed" },
    ]);
    assert.deepEqual(await view(db), { state: "idle", processed: 2, pending: 0, dead: 0, head_seq: null });
    await appendTo(db, "a");
    assert.deepEqual(await verb(db, "skip('a')"), { state: "idle", seq: 4 });
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
  }),
);

test(
  "redrive: a dead letter takes its place again while what is behind it still waits",
  withDatabase(async (db) => {
    const worker = await createOperated(db, { failurePolicy: "dead-letter" });
    worker.poison.add(2);
    await appendTo(db, "a", "a");
    await worker.run();
    await verb(db, "pause('a')");
    await appendTo(db, "a");
    worker.poison.clear();
    assert.deepEqual(await verb(db, "redrive('a', 2)"), { state: "paused", seq: 2 });
    assert.deepEqual(await view(db), { state: "paused", processed: 1, pending: 2, dead: 0, head_seq: 2 });
    await verb(db, "resume('a')");
    await worker.run();
    assert.deepEqual(worker.calls, [
      [1, 1],
      [2, 1],
      [2, 2],
      [3, 1],
    ]);
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
  }),
);

test(
  "redrive: once a later event was started it is refused, and by force a copy is appended",
  withDatabase(async (db) => {
    const worker = await createOperated(db, { failurePolicy: "dead-letter" });
    worker.poison.add(1);
    await appendTo(db, "a", "a");
    await worker.run();
    assert.equal(await refusal(db, "redrive('a', 1)"), "IT005");
    assert.equal(await refusal(db, "redrive('a', 2)"), "IT004");
    assert.deepEqual(await verb(db, "redrive('a', 1, force => true, who => 'kim')"), { state: "scheduled", seq: 3 });
    await worker.run();
    assert.deepEqual(
      worker.calls.map(([seq]) => seq),
      [1, 2, 3],
    );
    assert.deepEqual(await view(db), { state: "idle", processed: 2, pending: 0, dead: 0, head_seq: null });
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
    // Only what was done is recorded.
    assert.deepEqual(await db.query("select verb, seq, who from inturn.operator_log"), [
      { verb: "redrive", seq: 1, who: "kim" },
    ]);
  }),
);

test(
  "replay: every event from a seq on is handled again, in order, dead letters and skipped ones too",
  withDatabase(async (db) => {
    const worker = await createOperated(db, { failurePolicy: "dead-letter" });
    worker.poison.add(3);
    await appendTo(db, "a", "a", "a", "a");
    await worker.run();
    await appendTo(db, "a");
    await verb(db, "skip('a')");
    worker.poison.clear();
    assert.deepEqual(await verb(db, "replay('a', 2)"), { state: "scheduled", seq: 2 });
    assert.deepEqual(await view(db), { state: "scheduled", processed: 1, pending: 4, dead: 0, head_seq: 2 });
    await worker.run();
    assert.deepEqual(
      worker.calls.map(([seq]) => seq),
      [...oneTo(4), 2, 3, 4, 5],
    );
    assert.equal(await refusal(db, "replay('a', 0)"), "IT006");
    assert.equal(await refusal(db, "replay('a', 6)"), "IT006");
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
  }),
);

test(
  "a verb that does not fit is refused with a code, changes nothing, and is not recorded",
  withDatabase(async (db) => {
    const worker = await createOperated(db);
    assert.equal(await refusal(db, "pause('nobody')"), "IT001");
    await appendTo(db, "a", "a");
    const lease = await worker.ledger.claim("a");
    for (const call of ["retry('a')", "skip('a')", "replay('a', 1)"])
      assert.equal(await refusal(db, call), "IT002", call);
    for (const seq of [1, 2]) {
      await worker.ledger.settle(wellDone({ accountId: "a", epoch: lease?.epoch ?? 0, seq }));
    }
    for (const call of ["retry('a')", "skip('a')"]) assert.equal(await refusal(db, call), "IT003", call);
    assert.equal(await refusal(db, "redrive('a', 1)"), "IT004");
    assert.deepEqual(await db.query("select * from inturn.operator_log"), []);
    await assert.rejects(operate(db.database, { verb: "skip", accountId: "a", who: "kim" }), { code: "account_idle" });
  }),
);

test(
  "who may append may not operate, unless it is granted",
  withDatabase(async (db) => {
    const role = `appender_${process.pid}`;
    await db.query(`create role ${role}`);
    const client = await db.database.connect();
    try {
      await client.query(`grant usage on schema inturn to ${role}`);
      await client.query(`set role ${role}`);
      await client.query("select * from inturn.append_event('a', '{}')");
      for (const call of [
        "pause('a')",
        "skip('a')",
        "wake(array['a'], array[0])",
        "record_operation('skip', 'a', 1, 'x', 'y')",
      ]) {
        await assert.rejects(client.query(`select inturn.${call}`), { code: "42501" }, call);
      }
    } finally {
      await client.query(`reset role; drop owned by ${role}; drop role ${role}`);
      client.release();
    }
  }),
);

test(
  "the commands: a verb from the shell, its refusal, its bad usage",
  withDatabase(async (db) => {
    await appendTo(db, "a", "a");
    const inturn = (...args: string[]) => runProcess(args, { DATABASE_URL: db.url });
    const paused = await inturn("pause", "a", "--why", "look into it", "--who", "kim", "--json");
    assert.equal(paused.code, 0);
    assert.deepEqual(JSON.parse(paused.stdout), { accountId: "a", verb: "pause", state: "paused", seq: 1 });
    assert.match((await inturn("skip", "a")).stdout, /^skip: account a is paused; event 1$/m);
    const refused = await inturn("redrive", "a", "1");
    assert.deepEqual([refused.code, refused.stdout], [1, ""]);
    assert.match(refused.stderr, /event 1 of account 'a' is no dead letter\. \[event_not_dead\]/);
    assert.equal((await inturn("replay", "a", "zero")).code, 2);
    assert.deepEqual(await db.query("select verb, who, why from inturn.operator_log order by id limit 1"), [
      { verb: "pause", who: "kim", why: "look into it" },
    ]);
  }),
);
