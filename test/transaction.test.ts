/**
 * Exactly once, in the same database: a handler's writes and the settle of its event commit together or not at all.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { reconcileOnce } from "../src/db/reconcile.ts";
import { runTurn } from "../src/engine/turn.ts";
import type { TurnOptions } from "../src/engine/turn-options.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { accountRow, appendTo, createTestWorker, expireLease, slowly, wellDone } from "./support/worker.ts";

type Handler = TurnOptions["handler"];

const INCREMENT = "insert into counters values ($1, 1) on conflict (id) do update set n = counters.n + 1";

async function createCounters(db: TestDatabase): Promise<void> {
  await db.query("create table counters (id text primary key, n integer not null)");
}

async function countersOf(db: TestDatabase): Promise<Record<string, number>> {
  const rows = await db.query<{ id: string; n: number }>("select id, n from counters");
  return Object.fromEntries(rows.map(({ id, n }) => [id, n]));
}

test(
  "what the transaction wrote and the settle are committed together, event after event in one turn",
  withDatabase(async (db) => {
    await createCounters(db);
    const { options } = await createTestWorker(db);
    const handler: Handler = async (event, { transaction }) => {
      const answer = await transaction(async (client) => {
        await client.query(INCREMENT, [event.accountId]);
        return event.seq;
      });
      assert.equal(answer, event.seq);
      // The settle is there as soon as the transaction is.
      const [row] = await db.query("select state from inturn.event_results where seq = $1", [event.seq]);
      assert.deepEqual(row, { state: "processed" });
    };
    await appendTo(db, "a", "a", "a");
    await runTurn({ ...options, handler }, "a");
    assert.deepEqual(await countersOf(db), { a: 3 });
    assert.equal((await accountRow(db, "a"))?.["state"], "idle");
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
  }),
);

test(
  "an event that comes while the last one's handler has settled it and works on adds no wake-up; the turn's end does",
  withDatabase(async (db) => {
    const { options } = await createTestWorker(db);
    const wakeUps = async () => await db.query("select key from graphile_worker.jobs");
    const handler: Handler = async (_event, { transaction }) => {
      await transaction(async () => undefined);
      await appendTo(db, "a");
      // Whoever took it now would find the account in our hand, and end for nothing.
      assert.deepEqual(await wakeUps(), []);
    };
    await appendTo(db, "a");
    await db.query("delete from graphile_worker._private_jobs");
    await runTurn({ ...options, handler }, "a");
    assert.deepEqual(await wakeUps(), [{ key: "a#1" }]);
    assert.equal((await accountRow(db, "a"))?.["state"], "scheduled");
  }),
);

test(
  "one event that PostgreSQL refuses to settle fails alone, whoever shares the statement with it",
  withDatabase(async (db) => {
    const { options } = await createTestWorker(db);
    const ids = ["a", "b", "c", "d"];
    await appendTo(db, ...ids);
    const leases = await Promise.all(ids.map((id) => options.ledger.claim(id)));
    // A number that the column does not take: what a handler's worker must never send, and a bug in it might.
    const settles = leases.map((lease) =>
      options.ledger.settle(
        wellDone(
          { accountId: lease?.accountId ?? "", epoch: lease?.epoch ?? 0, seq: 1 },
          lease?.accountId === "b" ? 2 ** 40 : 1,
        ),
      ),
    );
    const ends = await Promise.allSettled(settles);
    assert.deepEqual(
      ends.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled", "fulfilled"],
    );
    const rows = await db.query("select id from inturn.accounts where processed_seq = 1 order by id");
    assert.deepEqual(rows, [{ id: "a" }, { id: "c" }, { id: "d" }]);
  }),
);

test(
  "a transaction that fails leaves nothing behind, and its event is tried again",
  withDatabase(async (db) => {
    await createCounters(db);
    const { options } = await createTestWorker(db);
    const ends: Record<string, Handler> = {
      throws: async (_event, { transaction }) =>
        await transaction(async (client) => {
          await client.query(INCREMENT, ["throws"]);
          throw new Error("no");
        }),
      hides: async (_event, { transaction }) => {
        await transaction(async (client) => {
          await client.query(INCREMENT, ["hides"]);
          await client.query("select 1 / 0").catch(() => undefined);
        }).catch(() => undefined);
      },
      forgets: (_event, { transaction }) => {
        void transaction(() => Promise.reject(new Error("nobody waits for this"))).catch(() => undefined);
      },
    };
    const handler: Handler = (event, context) => ends[event.accountId]?.(event, context);
    await appendTo(db, ...Object.keys(ends));
    await Promise.all(Object.keys(ends).map((id) => runTurn({ ...options, handler, ruleOf: slowly }, id)));
    assert.deepEqual(await countersOf(db), {});
    for (const id of Object.keys(ends)) assert.equal((await accountRow(db, id))?.["state"], "retrying", id);
  }),
);

test(
  "a transaction under a lost lease writes nothing; the heir's does",
  withDatabase(async (db) => {
    await createCounters(db);
    const [late, heir] = [await createTestWorker(db), await createTestWorker(db)];
    const increment: Handler = async (event, { transaction }) =>
      await transaction(async (client) => void (await client.query(INCREMENT, [event.accountId])));
    let refusal: unknown;
    const stalled: Handler = async (event, context) => {
      await expireLease(db, late.id);
      await reconcileOnce(db.database, { judges: true });
      await runTurn({ ...heir.options, handler: increment }, "a");
      await Promise.resolve(increment(event, context)).catch((error: unknown) => (refusal = error));
    };
    await appendTo(db, "a");
    await runTurn({ ...late.options, handler: stalled }, "a");
    assert.equal((refusal as { code?: string }).code, "lease_lost");
    assert.deepEqual(await countersOf(db), { a: 1 });
    assert.deepEqual(await db.query("select state, attempts from inturn.event_results"), [
      { state: "processed", attempts: 2 },
    ]);
  }),
);

test(
  "until the handler has come to its end nobody starts the next event, also after its transaction; a dead worker's account rests",
  withDatabase(async (db) => {
    const [one, two] = [await createTestWorker(db), await createTestWorker(db)];
    const seen: string[] = [];
    const handler: Handler = async (event, { transaction }) => {
      await transaction(async () => undefined);
      seen.push(`settled ${event.seq}`);
      if (event.seq > 1) return;
      // Nothing is left, and then there is: somebody else is woken, and must not get it.
      assert.equal((await accountRow(db, "a"))?.["state"], "running");
      await appendTo(db, "a");
      await runTurn({ ...two.options, handler }, "a");
      seen.push("ended 1");
    };
    await appendTo(db, "a");
    await runTurn({ ...one.options, handler }, "a");
    await runTurn({ ...two.options, handler }, "a");
    assert.deepEqual(seen, ["settled 1", "ended 1", "settled 2"]);
    const resting = { state: "idle", last_seq: 2, processed_seq: 2, epoch: 2, head_attempts: 0, leased: false };
    assert.deepEqual(await accountRow(db, "a"), resting);
    // Its worker dies between the transaction and the end: there is nothing to take over but the account.
    const dying: Handler = async (_event, { transaction }) => {
      await transaction(async () => undefined);
      await expireLease(db, one.id);
      await reconcileOnce(db.database, { judges: true });
      assert.deepEqual(await accountRow(db, "a"), { ...resting, last_seq: 3, processed_seq: 3, epoch: 3 });
    };
    await appendTo(db, "a");
    await runTurn({ ...one.options, handler: dying }, "a");
    assert.deepEqual(await accountRow(db, "a"), { ...resting, last_seq: 3, processed_seq: 3, epoch: 3 });
  }),
);

test(
  "an event is settled once: a second transaction is refused, and a failure afterwards changes nothing",
  withDatabase(async (db) => {
    await createCounters(db);
    const { options } = await createTestWorker(db);
    const codes: unknown[] = [];
    const handler: Handler = async (event, { transaction }) => {
      const increment = () => transaction(async (client) => await client.query(INCREMENT, [event.accountId]));
      await increment();
      await increment().catch((error: { code: string }) => codes.push(error.code));
      throw new Error("after the fact");
    };
    await appendTo(db, "a", "a");
    await runTurn({ ...options, handler }, "a");
    assert.deepEqual(codes, ["transaction_repeated", "transaction_repeated"]);
    assert.deepEqual(await countersOf(db), { a: 2 });
    assert.equal((await accountRow(db, "a"))?.["state"], "idle");
  }),
);

test(
  "a settle whose answer got lost is sent again and changes nothing; a give-back after it blames nobody",
  withDatabase(async (db) => {
    const { options } = await createTestWorker(db);
    await appendTo(db, "a", "a");
    const lease = await options.ledger.claim("a");
    const settlement = wellDone({ accountId: "a", epoch: lease?.epoch ?? 0, seq: 1 });
    assert.equal((await options.ledger.settle(settlement))?.state, "running");
    const before = await accountRow(db, "a");
    assert.equal((await options.ledger.settle(settlement))?.state, "running");
    assert.deepEqual(await accountRow(db, "a"), before);
    const failure = {
      message: "about event 1",
      isOfEvent: true,
      state: "blocked",
      waitMs: null,
      target: null,
    } as const;
    assert.equal(
      await options.ledger.giveBack({
        accountId: "a",
        epoch: settlement.epoch,
        startedSeq: 1,
        failure,
        forgives: false,
      }),
      true,
    );
    const after = await db.query("select state, head_attempts, head_error from inturn.accounts");
    assert.deepEqual(after, [{ state: "scheduled", head_attempts: 0, head_error: null }]);
  }),
);

test(
  "a transaction that comes too late writes nothing: its event is a dead letter by then, or skipped",
  withDatabase(async (db) => {
    await createCounters(db);
    const { options } = await createTestWorker(db);
    const { promise: given, resolve: giveUp } = Promise.withResolvers<void>();
    const ends: Promise<unknown>[] = [];
    const handler: Handler = async (event, { transaction }) => {
      if (event.seq === 2) return;
      const late = transaction(async (client) => {
        await client.query(INCREMENT, [event.accountId]);
        await given;
      });
      ends.push(late.catch((error: { code: string }) => error.code));
      await late;
    };
    const ruleOf = () => ({ ...slowly(), attemptsMax: 1, handlerTimeoutMs: 50, failurePolicy: "dead-letter" as const });
    await appendTo(db, "a", "a");
    await runTurn({ ...options, handler, ruleOf }, "a");
    giveUp();
    assert.deepEqual(await Promise.all(ends), ["lease_lost"]);
    assert.deepEqual(await countersOf(db), {});
    assert.deepEqual(await db.query("select seq, state from inturn.event_results order by seq"), [
      { seq: 1, state: "dead" },
      { seq: 2, state: "processed" },
    ]);
  }),
);

test(
  "a transaction whose commit was answered by nobody is not repeated, and the next event does not wait for it",
  withDatabase(async (db) => {
    await createCounters(db);
    const { options } = await createTestWorker(db);
    const codes: unknown[] = [];
    let lost = false;
    const transactions: typeof options.transactions = {
      settleWith: async (settlementOf, work) => {
        const done = await options.transactions.settleWith(settlementOf, work);
        if (lost) return done;
        lost = true;
        throw new Error("Connection terminated unexpectedly");
      },
    };
    const handler: Handler = async (event, { transaction }) => {
      const increment = () => transaction(async (client) => await client.query(INCREMENT, [event.accountId]));
      // A handler that tries again by itself.
      await increment().catch(() => increment().catch((error: { code: string }) => codes.push(error.code)));
    };
    await appendTo(db, "a", "a");
    await runTurn({ ...options, transactions, handler, ruleOf: slowly }, "a");
    assert.deepEqual(codes, ["lease_lost"]);
    assert.equal((await accountRow(db, "a"))?.["state"], "scheduled");
    await runTurn({ ...options, transactions, handler, ruleOf: slowly }, "a");
    assert.deepEqual(await countersOf(db), { a: 2 });
    assert.equal((await accountRow(db, "a"))?.["state"], "idle");
  }),
);
