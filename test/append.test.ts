import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { NewEvent } from "../src/domain/event.ts";
import { createAppender } from "../src/engine/append.ts";
import { createTestApp } from "./support/app.ts";
import { appendEvents, NO_CAPS, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { oneTo } from "./support/effects.ts";

function event(accountId: string, data: unknown, id: string | null = null): NewEvent {
  return newEvent({ accountId, data: JSON.stringify(data), id });
}

async function storedData(db: TestDatabase, accountId: string): Promise<unknown[]> {
  const rows = await db.query<{ data: unknown }>(
    "select data from inturn.event_results where account_id = $1 order by seq",
    [accountId],
  );
  return rows.map((row) => row.data);
}

test(
  "events get the seqs 1, 2, 3 of their account in array order",
  withDatabase(async (db) => {
    const appended = await appendEvents(db.database, [event("b", 1), event("a", 2), event("b", 3), event("a", 4)]);
    assert.deepEqual(appended, [
      { accountId: "b", seq: 1, duplicate: false },
      { accountId: "a", seq: 1, duplicate: false },
      { accountId: "b", seq: 2, duplicate: false },
      { accountId: "a", seq: 2, duplicate: false },
    ]);
    assert.deepEqual(await storedData(db, "b"), [1, 3]);
  }),
);

test(
  "senders on many connections never leave a gap, never deadlock, and each sender's order is kept",
  withDatabase(async (db) => {
    // Each sender appends batches over a few accounts in an order of its own; ids in falling order provoke deadlocks.
    const batch = fc.array(fc.constantFrom("e", "d", "c", "b", "a"), { minLength: 1, maxLength: 12 });
    const senders = fc.array(fc.array(batch, { minLength: 1, maxLength: 5 }), { minLength: 2, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(senders, async (schedules) => {
        await db.query("truncate inturn.accounts, inturn.events");
        await Promise.all(
          schedules.map(async (batches, sender) => {
            let n = 0;
            for (const accounts of batches) {
              await appendEvents(
                db.database,
                accounts.map((account) => event(account, { sender, n: n++ })),
              );
            }
          }),
        );
        const rows = await db.query<{ accountId: string; seqs: number[]; tags: { sender: number; n: number }[] }>(
          `select account_id as "accountId", array_agg(seq order by seq)::integer[] as seqs, json_agg(data order by seq) as tags
           from inturn.event_results group by 1`,
        );
        for (const { seqs, tags } of rows) {
          assert.deepEqual(seqs, oneTo(seqs.length));
          for (const sender of schedules.keys()) {
            const sent = tags.filter((tag) => tag.sender === sender).map((tag) => tag.n);
            assert.deepEqual(
              sent,
              sent.toSorted((a, b) => a - b),
            );
          }
        }
        assert.equal(
          rows.reduce((sum, row) => sum + row.seqs.length, 0),
          schedules.flat(2).length,
        );
      }),
      { numRuns: 40 },
    );
    const [{ deadlocks } = { deadlocks: -1 }] = await db.query<{ deadlocks: number }>(
      "select deadlocks from pg_stat_database where datname = current_database()",
    );
    assert.equal(deadlocks, 0);
  }),
);

test(
  "one server stores what it receives in parallel in the order in which it came",
  withDatabase(async (db) => {
    const appender = createAppender(db.database, NO_CAPS);
    const order: number[] = [];
    const appended = await Promise.all(
      oneTo(300).map(async (n) => {
        // Some come in the same round of events, some while earlier ones are being committed.
        for (let rounds = n % 7; rounds > 0; rounds--) await new Promise((resolve) => setImmediate(resolve));
        order.push(n);
        return await appender.append([event("a", n), event(`b${n}`, n)]);
      }),
    );
    assert.equal(appended.length, 300);
    assert.deepEqual(await storedData(db, "a"), order);
  }),
);

test(
  "the same id is stored once in its account, in one batch, in later ones, and fifty at a time",
  withDatabase(async (db) => {
    const appender = createAppender(db.database, NO_CAPS);
    const [first, second] = await appender.append([event("a", 1, "x"), event("a", 1, "x")]);
    assert.deepEqual(
      [first, second],
      [
        { accountId: "a", seq: 1, duplicate: false },
        { accountId: "a", seq: 1, duplicate: true },
      ],
    );
    const others = await appendEvents(db.database, [event("a", 2), event("b", 1, "x"), event("a", 1, "x")]);
    assert.deepEqual(
      others.map(({ seq, duplicate }) => [seq, duplicate]),
      [
        [2, false],
        [1, false],
        [1, true],
      ],
    );
    const copies = await Promise.all(Array.from({ length: 50 }, () => appendEvents(db.database, [event("c", 1, "y")])));
    assert.deepEqual(new Set(copies.map(([copy]) => copy?.seq)), new Set([1]));
    assert.equal(copies.filter(([copy]) => copy?.duplicate === false).length, 1);
    assert.deepEqual(await storedData(db, "c"), [1]);
  }),
);

test(
  "a batch with a faulty event is stored by no part, and spoils no other request of its group",
  withDatabase(async (db) => {
    const appender = createAppender(db.database, NO_CAPS);
    const faulty = { ...event("a", 2), data: "{not json" };
    const results = await Promise.allSettled([
      appender.append([event("a", 1)]),
      appender.append([event("b", 1), faulty]),
      appender.append([event("a", 3)]),
    ]);
    assert.deepEqual(
      results.map((result) => result.status),
      ["fulfilled", "rejected", "fulfilled"],
    );
    assert.deepEqual(await storedData(db, "a"), [1, 3]);
    assert.deepEqual(await storedData(db, "b"), []);
  }),
);

test(
  "the SQL doors work inside anybody's transaction, and leave nothing when it is rolled back",
  withDatabase(async (db) => {
    const client = await db.database.connect();
    try {
      await client.query("begin");
      const { rows } = await client.query("select * from inturn.append_event('a', '{\"n\": 1}', 'kind', 'id-1')");
      assert.deepEqual(rows, [{ seq: 1, duplicate: false }]);
      await client.query("rollback");
      assert.deepEqual((await client.query("select from inturn.accounts")).rowCount, 0);
      const many = await client.query(
        "select * from inturn.append_events(array['a','b','a'], array['1','2','1']::json[], null, array['i', null, 'i'])",
      );
      assert.deepEqual(many.rows, [
        { account_id: "a", seq: 1, duplicate: false },
        { account_id: "b", seq: 1, duplicate: false },
        { account_id: "a", seq: 1, duplicate: true },
      ]);
      const wrong = client.query("select * from inturn.append_events(array['a','b'], array['1']::json[])");
      await assert.rejects(wrong, { code: "22023" });
      const reused = client.query("select * from inturn.append_event('a', '2', null, 'i')");
      await assert.rejects(reused, { code: "23505", constraint: "events_event_id" });
    } finally {
      client.release();
    }
  }),
);

test(
  "only the append that finds an account idle wakes it: one job, named by account and epoch",
  withDatabase(async (db) => {
    await appendEvents(db.database, [event("a", 1), event("b", 1)]);
    await appendEvents(db.database, [event("a", 2), event("c", 1)]);
    const jobs = await db.query("select key, task_identifier, attempts from graphile_worker.jobs order by key");
    assert.deepEqual(
      jobs,
      ["a#0", "b#0", "c#0"].map((key) => ({ key, task_identifier: "inturn_turn", attempts: 0 })),
    );
  }),
);

test(
  "arrays whose subscripts do not begin at 1 are taken element by element, in their order",
  withDatabase(async (db) => {
    const rows = await db.query(`
      select account_id, seq::int, duplicate from inturn.append_events(
        '[0:3]={a,a,b,a}'::text[],
        ('[-1:2]={"1","1","2","3"}')::json[],
        '[5:8]={t,t,u,v}'::text[],
        '[0:3]={x,x,y,z}'::text[],
        array[null, null, null, null]::timestamptz[])`);
    assert.deepEqual(rows, [
      { account_id: "a", seq: 1, duplicate: false },
      { account_id: "a", seq: 1, duplicate: true },
      { account_id: "b", seq: 1, duplicate: false },
      { account_id: "a", seq: 2, duplicate: false },
    ]);
    const stored = await db.query(
      "select account_id, seq::int, event_id, type, data::text as data from inturn.event_results order by 1, 2",
    );
    assert.deepEqual(stored, [
      { account_id: "a", seq: 1, event_id: "x", type: "t", data: "1" },
      { account_id: "a", seq: 2, event_id: "z", type: "v", data: "3" },
      { account_id: "b", seq: 1, event_id: "y", type: "u", data: "2" },
    ]);
  }),
);

test(
  "an id that no path could name, or that has control characters, makes no account: in SQL as over HTTP",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    for (const id of [".", "..", "a\u0085b", "a\u009fb", "a\u007fb", "a\tb", "", "x".repeat(251)]) {
      await assert.rejects(
        db.query("select * from inturn.append_event($1, '1')", [id]),
        { code: "22023" },
        JSON.stringify(id),
      );
      const body = JSON.stringify({ accountId: id, data: 1 });
      const answer = await app.request("/v1/events", {
        method: "POST",
        body,
        headers: { "content-type": "application/json" },
      });
      assert.equal(answer.status, 422, JSON.stringify(id));
    }
    for (const id of ["...", ".a", "a/..", "\u00a0", "é"]) {
      assert.deepEqual(await db.query("select * from inturn.append_event($1, '1')", [id]), [
        { seq: 1, duplicate: false },
      ]);
      const answer = await app.request(`/v1/accounts/${encodeURIComponent(id)}`);
      assert.equal(((await answer.json()) as { accountId: string }).accountId, id);
    }
    assert.deepEqual(await db.query("select count(*)::integer as accounts from inturn.accounts"), [{ accounts: 5 }]);
  }),
);
