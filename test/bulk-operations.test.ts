/**
 * Operations: a verb for many accounts is carried out on each that matched and has not changed, once, whoever dies meanwhile.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runMigrations } from "graphile-worker";
import {
  beginOperation,
  cancelOperation,
  carryOnOperation,
  findOperation,
  wakeOperations,
} from "../src/db/bulk-operations.ts";
import type { BulkVerb, OperationFilter } from "../src/domain/operation.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

/** Accounts in every state, each with a head of its own kind. */
async function fill(db: TestDatabase): Promise<void> {
  await db.query(`
    insert into inturn.accounts (id, last_seq, processed_seq, state, head_error, head_attempts, next_attempt_at, head_target, paused_at, dead, state_since)
    values
      ('a1', 1, 0, 'blocked', 'Error: connect ECONNREFUSED 127.0.0.1:1', 3, null, null, null, 0, now() - interval '2 hours'),
      ('a2', 1, 0, 'blocked', 'Error: connect econnrefused', 3, null, null, null, 0, now()),
      ('b1', 1, 0, 'blocked', 'TypeError: no amount', 3, null, null, null, 0, now() - interval '2 hours'),
      ('b2', 1, 0, 'retrying', 'Error: connect ECONNREFUSED', 1, now() + interval '1 hour', null, null, 0, now()),
      ('b3', 1, 0, 'scheduled', null, 0, null, null, null, 0, now()),
      ('b4', 1, 0, 'waiting', null, 0, null, 'stripe', null, 0, now()),
      ('c1', 1, 1, 'idle', null, 0, null, null, null, 0, now()),
      ('c2', 1, 0, 'scheduled', null, 0, null, null, now(), 0, now()),
      ('d1', 2, 2, 'idle', null, 0, null, null, null, 1, now())`);
  await db.query(`
    insert into inturn.events (account_id, seq, type, data, received_at, processed_at, outcome, error)
    select a.id, seq, case when a.id in ('a1', 'b1') then 'pay.made' when a.id = 'd1' then 'mail.sent' else 'other' end, '{}', now(),
      case when seq <= a.processed_seq then now() end,
      case when seq <= a.processed_seq then case when a.id = 'd1' and seq = 2 then 'dead' else 'processed' end end,
      case when a.id = 'd1' and seq = 2 then 'no such mailbox' end
    from inturn.accounts as a, generate_series(1, a.last_seq) as seq`);
}

const matches = async (db: TestDatabase, verb: BulkVerb, where: OperationFilter = {}) =>
  (
    await db.query<{ id: string }>("select m.account_id as id from inturn.matching_accounts($1, $2) as m", [
      verb,
      JSON.stringify(where),
    ])
  )
    .map(({ id }) => id)
    .join(" ");

const begin = async (db: TestDatabase, verb: BulkVerb, where: OperationFilter, more: object = {}) => {
  const { id, matched } = await beginOperation(db.database, { verb, where, who: "kim", why: "mended", ...more });
  return { id: id ?? 0, matched };
};

const states = async (db: TestDatabase) =>
  Object.fromEntries(
    (await db.query<{ id: string; state: string }>("select account_id as id, state from inturn.account_results")).map(
      ({ id, state }) => [id, state],
    ),
  );

test(
  "replay is for many accounts what was settled since a time, or from the first event of a type since then on",
  withDatabase(async (db) => {
    await db.query(`
      insert into inturn.accounts (id, last_seq, processed_seq, pruned_seq, state)
      values ('a', 9, 9, 0, 'idle'), ('b', 9, 7, 3, 'scheduled'), ('c', 2, 2, 0, 'idle'), ('d', 2, 0, 0, 'scheduled')`);
    await db.query(`
      insert into inturn.events (account_id, seq, type, data, received_at, processed_at, outcome)
      select a.id, seq, case when seq % 4 = 0 then 'pay.made' else 'mail.sent' end, '{}', now(),
        case when seq <= a.processed_seq then timestamptz '2026-01-01Z' + seq * interval '1 hour' end,
        case when seq <= a.processed_seq then 'processed' end
      from inturn.accounts as a, generate_series(a.pruned_seq + 1, a.last_seq) as seq`);
    const from = async (where: OperationFilter) =>
      (
        await db.query<{ id: string; seq: number }>(
          "select m.account_id as id, m.seq from inturn.matching_accounts('replay', $1) as m",
          [JSON.stringify(where)],
        )
      )
        .map(({ id, seq }) => `${id}/${seq}`)
        .join(" ");
    const at = (hour: number) => `2026-01-01T0${hour}:00:00Z`;
    assert.equal(await from({ settledSince: at(0) }), "a/1 b/4 c/1", "what is no longer kept is not replayed");
    for (let hour = 3; hour <= 7; hour += 1) {
      assert.equal(await from({ settledSince: at(hour) }), `a/${hour} b/${Math.max(4, hour)}`);
    }
    assert.equal(await from({ settledSince: at(9) }), "a/9");
    assert.equal(await from({ settledSince: "2026-01-01T09:00:01Z" }), "");
    assert.equal(await from({ settledSince: at(2), type: "pay.*" }), "a/4 b/4");
    assert.equal(await from({ settledSince: at(5), type: "pay.made", states: ["idle"] }), "a/8");
    assert.equal(await from({ settledSince: at(0), prefix: "b", limit: 1 }), "b/4");
    const { id, matched } = await begin(db, "replay", { settledSince: at(5), type: "mail.sent" });
    assert.equal(matched, 2);
    await db.query("update inturn.accounts set processed_seq = 3 where id = 'b'");
    await carryOnOperation(db.database, id);
    const after = await findOperation(db.database, id);
    assert.deepEqual([after?.state, after?.done, after?.leftOut], ["done", 1, { event_not_settled: 1 }]);
    const pending = await db.query(
      "select seq from inturn.events where account_id = 'a' and outcome is null order by seq",
    );
    assert.deepEqual(
      pending.map(({ seq }) => seq),
      [5, 6, 7, 8, 9],
    );
    for (const [verb, where] of [
      ["replay", {}],
      ["retry", { settledSince: at(1) }],
      ["replay", { settledSince: at(1), error: "x" }],
    ] as const) {
      await assert.rejects(begin(db, verb, where), { code: "operation_invalid" });
    }
  }),
);

test(
  "a verb matches the accounts that it can do something for, and every filter narrows them",
  withDatabase(async (db) => {
    await fill(db);
    assert.equal(await matches(db, "retry"), "a1 a2 b1 b2 b4");
    assert.equal(await matches(db, "skip"), "a1 a2 b1 b2 b3 b4 c2");
    assert.equal(await matches(db, "pause"), "a1 a2 b1 b2 b3 b4 c1 d1");
    assert.equal(await matches(db, "resume"), "c2");
    assert.equal(await matches(db, "redrive"), "d1");
    assert.equal(await matches(db, "retry", { states: ["blocked"] }), "a1 a2 b1");
    assert.equal(await matches(db, "retry", { states: ["blocked", "waiting"], prefix: "b" }), "b1 b4");
    assert.equal(await matches(db, "retry", { error: "ECONNREFUSED" }), "a1 a2 b2");
    assert.equal(await matches(db, "retry", { error: "%" }), "");
    assert.equal(await matches(db, "retry", { type: "pay.made" }), "a1 b1");
    assert.equal(await matches(db, "retry", { type: "pay.*", error: "econn" }), "a1");
    assert.equal(await matches(db, "redrive", { type: "mail.*", error: "MAILBOX" }), "d1");
    assert.equal(await matches(db, "redrive", { type: "pay.*" }), "");
    const anHourAgo = new Date(Date.now() - 3_600_000).toISOString();
    assert.equal(await matches(db, "retry", { states: ["blocked"], blockedBefore: anHourAgo }), "a1 b1");
    assert.equal(await matches(db, "retry", { limit: 2 }), "a1 a2");
    assert.equal(await matches(db, "skip", { states: ["paused"] }), "c2");
    const dry = await beginOperation(db.database, { verb: "retry", where: {}, who: "kim", dryRun: true });
    assert.deepEqual(dry, { id: null, matched: 5 });
    assert.deepEqual(await db.query("select from inturn.bulk_operations"), []);
  }),
);

test(
  "what has changed since it matched is left out and says why; what was done stands in the log with the operation",
  withDatabase(async (db) => {
    await fill(db);
    const { id, matched } = await begin(db, "retry", { states: ["blocked", "retrying"] });
    assert.equal(matched, 4);
    await db.query("select from inturn.skip('a1', 'by hand', 'lee')");
    await db.query(
      "update inturn.accounts set state = 'running', lease_worker = gen_random_uuid(), next_attempt_at = null where id = 'b2'",
    );
    await carryOnOperation(db.database, id);
    const found = await findOperation(db.database, id);
    assert.deepEqual(
      { ...found, createdAt: null, endedAt: null },
      {
        id,
        verb: "retry",
        where: { states: ["blocked", "retrying"] },
        state: "done",
        matched: 4,
        tried: 4,
        done: 2,
        leftOut: { account_changed: 1, account_running: 1 },
        rate: null,
        who: "kim",
        why: "mended",
        createdAt: null,
        endedAt: null,
      },
    );
    const after = await states(db);
    assert.deepEqual(
      [after["a1"], after["a2"], after["b1"], after["b2"]],
      ["idle", "scheduled", "scheduled", "running"],
    );
    assert.deepEqual(
      await db.query("select verb, account_id, who, why, operation_id from inturn.operator_log order by id"),
      [
        { verb: "skip", account_id: "a1", who: "lee", why: "by hand", operation_id: null },
        { verb: "retry", account_id: "a2", who: "kim", why: "mended", operation_id: id },
        { verb: "retry", account_id: "b1", who: "kim", why: "mended", operation_id: id },
      ],
    );
    // Once it has ended nothing more is done, and a verb afterwards is not part of it.
    await carryOnOperation(db.database, id);
    await db.query("select from inturn.pause('b1')");
    const [last] = await db.query("select operation_id from inturn.operator_log order by id desc limit 1");
    assert.deepEqual(last, { operation_id: null });
  }),
);

test(
  "pause, resume, skip and redrive work on many as well",
  withDatabase(async (db) => {
    await fill(db);
    const run = async (verb: BulkVerb, where: OperationFilter) => {
      const { id } = await begin(db, verb, where);
      await carryOnOperation(db.database, id);
      const found = await findOperation(db.database, id);
      return [found?.done, found?.leftOut];
    };
    assert.deepEqual(await run("pause", { prefix: "b" }), [4, null]);
    assert.deepEqual(await run("resume", {}), [5, null]);
    assert.deepEqual(await run("skip", { prefix: "a" }), [2, null]);
    assert.deepEqual(await run("redrive", {}), [1, null]);
    const after = await states(db);
    assert.deepEqual([after["a1"], after["c2"], after["d1"]], ["idle", "scheduled", "scheduled"]);
  }),
);

const many = async (db: TestDatabase, accounts: number) => {
  await db.query(
    `insert into inturn.accounts (id, last_seq, state, head_error, head_attempts)
     select 'a' || lpad(i::text, 5, '0'), 1, 'blocked', 'Error: connect ECONNREFUSED', 3 from generate_series(1, $1::integer) as i`,
    [accounts],
  );
  await db.query(
    "insert into inturn.events (account_id, seq, data, received_at) select id, 1, '{}', now() from inturn.accounts",
  );
};

test(
  "a rate is kept over time, and a part that is late does not make good for more than two seconds; a cancelled one stops",
  withDatabase(async (db) => {
    await many(db, 1_000);
    const { id } = await begin(db, "retry", { states: ["blocked"] }, { rate: 100 });
    const triedAfter = async (ms: number) => {
      await db.query("update inturn.bulk_operations set created_at = clock_timestamp() - $1 * interval '1 ms'", [ms]);
      await carryOnOperation(db.database, id);
      return (await findOperation(db.database, id))?.tried ?? 0;
    };
    const first = await triedAfter(500);
    assert.ok(first >= 50 && first <= 60, `${first}`);
    const second = await triedAfter(1_500);
    assert.ok(second >= 150 && second <= 160, `${second}`);
    assert.equal(await triedAfter(60_000), second + 200);
    const [job] = await db.query<{ late: boolean }>(
      "select run_at > now() + interval '100 ms' as late from graphile_worker.jobs where key = $1",
      [`inturn_operate#${id}`],
    );
    assert.deepEqual(job, { late: true });
    assert.equal(await cancelOperation(db.database, { id, who: "kim", why: "enough" }), true);
    assert.equal(await cancelOperation(db.database, { id, who: "kim" }), false);
    await carryOnOperation(db.database, id);
    const found = await findOperation(db.database, id);
    assert.deepEqual(
      [found?.state, found?.done, found?.why],
      ["cancelled", second + 200, "mended; cancelled by kim: enough"],
    );
  }),
);

test(
  "an account that somebody has locked is left out, and an operation whose job got lost is carried on",
  withDatabase(async (db) => {
    await runMigrations({ connectionString: db.url, schema: "graphile_worker" });
    await many(db, 3);
    const { id } = await begin(db, "retry", { states: ["blocked"] });
    await db.query("delete from graphile_worker._private_jobs");
    await wakeOperations(db.database);
    await wakeOperations(db.database);
    assert.equal(
      (await db.query("select from graphile_worker.jobs where task_identifier = 'inturn_operate'")).length,
      1,
    );
    const client = await db.database.connect();
    await client.query("begin; select from inturn.accounts where id = 'a00002' for update");
    await carryOnOperation(db.database, id);
    await client.query("rollback");
    client.release();
    assert.deepEqual((await findOperation(db.database, id))?.leftOut, { account_locked: 1 });
    await db.query("update inturn.bulk_operations set ended_at = now() - interval '31 days'");
    await wakeOperations(db.database);
    assert.deepEqual(await db.query("select from inturn.bulk_operation_items"), []);
  }),
);

test(
  "5,000 blocked accounts are retried, each once, although the worker that does it is killed twice",
  withDatabase(async (db) => {
    await many(db, 5_000);
    const environment = { DATABASE_URL: db.url, INTURN_HANDLER: "sleep", INTURN_HANDLER_MS: "0" };
    let worker = startProcess(["work"], environment);
    await worker.ready;
    const startedMs = performance.now();
    const { id, matched } = await begin(db, "retry", { states: ["blocked"], error: "ECONNREFUSED" });
    assert.equal(matched, 5_000);
    for (const tried of [400, 2_000]) {
      await until(`${tried} are done`, async () => ((await findOperation(db.database, id))?.tried ?? 0) >= tried);
      worker.child.kill("SIGKILL");
      await worker.ended;
      worker = startProcess(["work"], environment);
      await worker.ready;
    }
    const found = await until("it has ended", async () => {
      const status = await findOperation(db.database, id);
      return status?.state === "done" && status;
    });
    assert.deepEqual([found.done, found.leftOut], [5_000, null]);
    console.log(`5,000 accounts, two kills: ${((performance.now() - startedMs) / 1_000).toFixed(1)} s`);
    const [log] = await db.query(
      "select count(*) as entries, count(distinct account_id) as accounts from inturn.operator_log where operation_id = $1",
      [id],
    );
    assert.deepEqual(log, { entries: 5_000, accounts: 5_000 });
    await until(
      "all are handled",
      async () => (await db.query("select from inturn.accounts where state <> 'idle'")).length === 0,
    );
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
    assert.equal(await worker.stop(), 0);
  }),
);
