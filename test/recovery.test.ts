/**
 * Recovery, piece by piece: what a worker that is gone leaves behind, leases that nobody knows of, and wake-ups that nobody
 * fetches.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import pg from "pg";
import { reconcileOnce } from "../src/db/reconcile.ts";
import { FIRST_DUE, wakeLost } from "../src/db/wake-ups.ts";
import { createLeaseSweep } from "../src/engine/recover.ts";
import { StallWatch } from "../src/engine/stall-watch.ts";
import { runTurn } from "../src/engine/turn.ts";
import type { TurnOptions } from "../src/engine/turn-options.ts";
import { createLog } from "../src/log/log.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";
import { accountRow, appendTo, createTestWorker, expireLease, rule } from "./support/worker.ts";

type Handler = TurnOptions["handler"];

/** A worker claims the account and dies; another one finds that. */
async function dieAfterClaim(db: TestDatabase, accountId: string): Promise<void> {
  await db.query("update inturn.accounts set next_attempt_at = clock_timestamp() where state = 'retrying'");
  const doomed = await createTestWorker(db);
  assert.notEqual(await doomed.options.ledger.claim(accountId), undefined);
  await expireLease(db, doomed.id);
  assert.equal((await reconcileOnce(db.database, { judges: true })).takenOver, 1);
}

for (const attemptsMax of [1, 2, 3]) {
  test(
    `an event whose workers die before its handler is called is never given up (${attemptsMax} attempts)`,
    withDatabase(async (db) => {
      await appendTo(db, "a");
      for (let death = 0; death < 8; death++) await dieAfterClaim(db, "a");
      const calls: number[] = [];
      const { options } = await createTestWorker(db);
      const handler: Handler = (event) => void calls.push(event.seq);
      await runTurn({ ...options, handler, ruleOf: () => ({ ...rule, attemptsMax }) }, "a");
      assert.deepEqual(calls, [1]);
      assert.deepEqual(await db.query("select state from inturn.event_results"), [{ state: "processed" }]);
    }),
  );
}

test(
  "deaths before and after the call are told apart: only those after it are counted, from the second attempt on",
  withDatabase(async (db) => {
    await appendTo(db, "a");
    const calls: number[] = [];
    const death = Promise.withResolvers<void>();
    const ruleOf = () => ({ ...rule, attemptsMax: 4 });
    const handler: Handler = (_event, { attempt }) => {
      calls.push(attempt);
      return death.promise;
    };
    for (const isCalled of [true, false, true, false, false, true, false]) {
      if (!isCalled) {
        await dieAfterClaim(db, "a");
        continue;
      }
      await db.query("update inturn.accounts set next_attempt_at = clock_timestamp() where state = 'retrying'");
      const doomed = await createTestWorker(db);
      const before = calls.length;
      void runTurn({ ...doomed.options, handler, ruleOf }, "a");
      await until("the handler was called", () => calls.length > before);
      await expireLease(db, doomed.id);
      await reconcileOnce(db.database, { judges: true });
    }
    death.resolve();
    assert.deepEqual(calls, [1, 2, 3]);
    assert.equal((await accountRow(db, "a"))?.["head_attempts"], 3);
  }),
);

test(
  "an account that a worker claims while it is being found orphaned stays with that worker",
  withDatabase(async (db) => {
    await appendTo(db, "a");
    const gone = await createTestWorker(db);
    assert.notEqual(await gone.options.ledger.claim("a"), undefined);
    await db.query("delete from inturn.workers where id = $1", [gone.id]);
    // Whoever reads the list of workers takes half a second for it, so that something can happen between the look at an
    // account and the lock on it.
    await db.query("alter table inturn.workers rename to workers_stored");
    await db.query(
      "create view inturn.workers as select w.* from inturn.workers_stored as w, (select pg_sleep(0.5) offset 0) as s offset 0",
    );
    await db.query(
      "insert into inturn.workers_stored (id, host, pid, concurrency, lease_expires_at) values ($1, 'h', 1, 1, now() + interval '1 hour')",
      [randomUUID()],
    );
    const reconciled = reconcileOnce(db.database, { judges: false });
    await until("the list is being read", async () => {
      const rows = await db.query(
        "select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()",
      );
      return rows.length > 0;
    });
    const alive = randomUUID();
    await db.query(
      "insert into inturn.workers_stored (id, host, pid, concurrency, lease_expires_at) values ($1, 'h', 1, 1, now() + interval '1 hour')",
      [alive],
    );
    await db.query("update inturn.accounts set lease_worker = $1, epoch = epoch + 1 where id = 'a'", [alive]);
    assert.equal((await reconciled).takenOver, 0);
    const [account] = await db.query("select state, lease_worker from inturn.accounts");
    assert.deepEqual(account, { state: "running", lease_worker: alive });
  }),
);

const held = (db: TestDatabase) => db.query("update inturn.accounts set state_since = now() - interval '1 minute'");

test(
  "a lease that its worker knows nothing of is given back, and counted once; a locked one is tried once at a time",
  withDatabase(async (db) => {
    const { id: workerId, options } = await createTestWorker(db);
    await appendTo(db, "known", "unknown", "locked");
    for (const accountId of ["known", "unknown", "locked"]) await options.ledger.claim(accountId);
    await held(db);
    const locker = new pg.Client({ connectionString: db.url });
    await locker.connect();
    await locker.query("begin; select from inturn.accounts where id = 'locked' for update");
    const asked: string[] = [];
    const ledger = {
      giveBack: async (end: Parameters<typeof options.ledger.giveBack>[0]) => {
        asked.push(end.accountId);
        if (end.accountId === "locked") await until("it is free", () => isFree);
        return await options.ledger.giveBack(end);
      },
    };
    let isFree = false;
    const sweep = createLeaseSweep({ database: db.database, ledger, workerId, inHand: () => ["known"] });
    assert.equal(await sweep(), 1);
    assert.equal(await sweep(), 0);
    assert.deepEqual(asked.toSorted(), ["locked", "unknown"]);
    await locker.end();
    isFree = true;
    await until("it is given back", async () => (await accountRow(db, "locked"))?.["state"] === "scheduled");
    assert.equal((await accountRow(db, "known"))?.["state"], "running");
  }),
);

test(
  "a turn that ends while its worker asks for leases is no lost claim",
  withDatabase(async (db) => {
    const { id: workerId, options } = await createTestWorker(db);
    await appendTo(db, "a");
    await options.ledger.claim("a");
    await held(db);
    let turns = 0;
    // In hand when the question is sent, and not any more when the answer is there.
    const inHand = () => (turns++ === 0 ? ["a"] : []);
    const giveBack = () => assert.fail("it was in hand");
    const sweep = createLeaseSweep({ database: db.database, ledger: { giveBack }, workerId, inHand });
    assert.equal(await sweep(), 0);
    assert.equal((await accountRow(db, "a"))?.["state"], "running");
  }),
);

test(
  "a look at the accounts that are due goes on where the last one ended, and tells what nobody fetches",
  withDatabase(async (db) => {
    await db.query(
      `insert into inturn.accounts (id, last_seq, state, state_since)
       select 'a' || lpad(n::text, 4, '0'), 1, 'scheduled', now() - interval '1 hour' + (n / 10) * interval '1 ms'
       from generate_series(1, 2500) as n`,
    );
    await db.query("update inturn.accounts set paused_at = now() where id < 'a0101'");
    const first = await wakeLost(db.database, FIRST_DUE);
    assert.deepEqual([first?.woken, first?.isFull, first?.first?.accountId], [1_000, true, "a0101"]);
    const second = await wakeLost(db.database, first?.last ?? FIRST_DUE);
    assert.deepEqual([second?.woken, second?.isFull, second?.first?.accountId], [1_000, true, "a1101"]);
    const third = await wakeLost(db.database, second?.last ?? FIRST_DUE);
    assert.deepEqual([third?.woken, third?.isFull, third?.last?.accountId], [400, false, "a2500"]);
    // Their wake-ups are there, and too young to be missed.
    const fourth = await wakeLost(db.database, FIRST_DUE);
    assert.deepEqual([fourth?.woken, fourth?.unfetched], [0, 0]);
    await db.query("update graphile_worker._private_jobs set run_at = now() - interval '2 seconds'");
    assert.equal((await wakeLost(db.database, FIRST_DUE))?.unfetched, 1_000);
  }),
);

/** A watch with a clock of its own, and what it did. */
function createWatch() {
  let nowMs = 1_000_000;
  let free = true;
  let replaced = 0;
  const lines: unknown[] = [];
  const log = { error: (line: unknown) => lines.push(line) } as unknown as ReturnType<typeof createLog>;
  const watch = new StallWatch({
    hasFreeSlots: () => free,
    onUnfetched: () => (replaced += 1),
    log,
    now: () => nowMs,
  });
  return {
    watch,
    lines,
    replaced: () => replaced,
    pass: (ms: number) => (nowMs += ms),
    fill: () => (free = false),
  };
}

const waiting = { unfetched: 3, woken: 0, isFull: false };
const nothing = { unfetched: 0, woken: 0, isFull: false };

test("wake-ups that are not fetched while slots are free have the runner replaced, once in a while; then the worker is stalled", () => {
  const { watch, lines, replaced, pass } = createWatch();
  pass(1_500);
  watch.looked(waiting);
  pass(400);
  watch.looked(waiting);
  assert.equal(replaced(), 1);
  for (let look = 0; look < 8; look++) {
    pass(400);
    watch.looked(waiting);
  }
  assert.equal(replaced(), 2);
  assert.equal(watch.stalledMs, 0);
  pass(10_000);
  watch.looked(waiting);
  pass(1_000);
  watch.looked(waiting);
  assert.equal(watch.stalledMs >= 10_000, true);
  assert.deepEqual(lines, [{ due: 3, stalledSeconds: 15 }]);
  watch.turnBegan();
  assert.equal(watch.stalledMs, 0);
});

test("a worker is not stalled while turns begin, while all its slots are taken, or while nothing is due", () => {
  for (const end of ["turn", "full", "nothing"] as const) {
    const { watch, lines, replaced, pass, fill } = createWatch();
    for (let look = 0; look < 100; look++) {
      pass(400);
      if (end === "turn") watch.turnBegan();
      if (end === "full") fill();
      watch.looked(end === "nothing" ? nothing : waiting);
      assert.equal(watch.stalledMs, 0);
    }
    assert.deepEqual([lines, replaced()], [[], 0], end);
  }
});
