import assert from "node:assert/strict";
import { test } from "node:test";
import { verify } from "../src/demo/verify.ts";
import { pruneAll } from "../src/engine/prune.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { runProcess } from "./support/process.ts";

/** An account with this many settled events, one for each day that has gone by, the oldest first, and one that waits. */
async function writeAccount(db: TestDatabase, accountId: string, days: number, dead: number[] = []): Promise<void> {
  const events = Array.from({ length: days + 1 }, (_, i) =>
    newEvent({ accountId, id: `e${i + 1}`, type: "inturn.load", data: JSON.stringify({ run: "1", n: i + 1 }) }),
  );
  await appendEvents(db.database, events);
  await db.query(
    `update inturn.events set started_at = at, processed_at = at, attempts = 1, outcome = case when seq = any ($3) then 'dead' else 'processed' end
     from (select n, clock_timestamp() - ($2 + 1 - n - 0.5) * interval '1 day' as at from generate_series(1, $2) as n) as day
     where account_id = $1 and seq = n`,
    [accountId, days, dead],
  );
  await db.query("update inturn.accounts set processed_seq = $2, dead = $3 where id = $1", [
    accountId,
    days,
    dead.length,
  ]);
}

const seqsOf = async (db: TestDatabase, accountId: string): Promise<number[]> =>
  (await db.query<{ seq: number }>("select seq from inturn.events where account_id = $1 order by 1", [accountId])).map(
    (row) => row.seq,
  );

test(
  "what was settled long ago goes; what waits, what is young and what is dead stays; the proof of order still holds",
  withDatabase(async (db) => {
    await writeAccount(db, "a", 6, [2]);
    await writeAccount(db, "b", 2);
    await writeAccount(db, "c", 1_500);
    assert.equal(await pruneAll(db.database, { keepDays: 3 }), 2 + 1_497);
    assert.deepEqual(await seqsOf(db, "a"), [2, 4, 5, 6, 7]);
    assert.deepEqual(await seqsOf(db, "b"), [1, 2, 3]);
    assert.deepEqual(await seqsOf(db, "c"), [1_498, 1_499, 1_500, 1_501]);
    assert.equal(await pruneAll(db.database, { keepDays: 3 }), 0);
    const { lost, orderViolations, overlaps, duplicates } = await verify(db.database);
    assert.deepEqual(
      { lost, orderViolations, overlaps, duplicates },
      { lost: 0, orderViolations: 0, overlaps: 0, duplicates: 0 },
    );
    await db.query("delete from inturn.events where account_id = 'c' and seq = 1499");
    assert.equal((await verify(db.database)).lost > 0, true);
  }),
);

test(
  "an id is remembered as long as its event, seqs go on, and what is gone cannot be replayed",
  withDatabase(async (db) => {
    await writeAccount(db, "a", 4);
    await pruneAll(db.database, { keepDays: 2 });
    const sent = (n: number) =>
      newEvent({ accountId: "a", id: `e${n}`, type: "inturn.load", data: JSON.stringify({ run: "1", n }) });
    assert.deepEqual(await appendEvents(db.database, [sent(4), sent(1)]), [
      { accountId: "a", seq: 4, duplicate: true },
      { accountId: "a", seq: 6, duplicate: false },
    ]);
    await assert.rejects(db.query("select * from inturn.replay('a', 2)"), { code: "IT006" });
    await db.query("select * from inturn.replay('a', 3)");
    assert.deepEqual(await seqsOf(db, "a"), [3, 4, 5, 6]);
  }),
);

test(
  "an old dead letter at the end of its account is still redriven in its place",
  withDatabase(async (db) => {
    await writeAccount(db, "a", 3, [3]);
    await pruneAll(db.database, { keepDays: 0 });
    assert.deepEqual(await seqsOf(db, "a"), [3, 4]);
    assert.deepEqual(await db.query("select * from inturn.redrive('a', 3)"), [{ state: "scheduled", seq: 3 }]);
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
  }),
);

test(
  "`prune` says how many events went",
  withDatabase(async (db) => {
    await writeAccount(db, "a", 5);
    const { code, stdout } = await runProcess(["prune", "--keep-days", "2", "--json"], { DATABASE_URL: db.url });
    assert.deepEqual([code, JSON.parse(stdout)], [0, { events: 3 }]);
    assert.equal((await runProcess(["prune"], { DATABASE_URL: db.url })).code, 2);
  }),
);
