/**
 * Pauses of more than one account: after the answer no event that they cover starts, also of accounts that come later; the others go
 * on; they end at once or little by little.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { operate } from "../src/db/operate.ts";
import { endPause, insertPause, listPauses, listUnconfirmed, tendPauses } from "../src/db/pauses.ts";
import { renewWorkerLease } from "../src/db/workers.ts";
import type { Covered } from "../src/domain/pause.ts";
import type { HandlerEvent } from "../src/engine/handler.ts";
import { beginPause } from "../src/engine/pause.ts";
import { runTurn } from "../src/engine/turn.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { createTestWorker, expireLease } from "./support/worker.ts";

const who = "kim";
const everything: Covered = { covers: "all", value: "" };

const append = async (db: TestDatabase, type: string | null, ...accountIds: string[]) =>
  await appendEvents(
    db.database,
    accountIds.map((accountId) => newEvent({ accountId, data: "{}", ...(type !== null && { type }) })),
  );

/** What the accounts' rows say: `rests` because of a pause, `paused` by a person, or their state. */
const standings = async (db: TestDatabase) =>
  Object.fromEntries(
    (
      await db.query<{ id: string; standing: string }>(
        `select id, case when paused_at is null then state when paused_by is null then 'paused' else 'rests' end as standing
         from inturn.accounts order by id`,
      )
    ).map(({ id, standing }) => [id, standing]),
  );

/** A worker that goes by the list as it is now, and what its handler was called for. */
async function createSystem(db: TestDatabase) {
  const worker = await createTestWorker(db);
  const calls: string[] = [];
  const hooks = { onCall: async (_event: HandlerEvent): Promise<void> => undefined };
  const handler = async (event: HandlerEvent) => {
    calls.push(`${event.accountId}/${event.seq}`);
    await hooks.onCall(event);
  };
  const options = { ...worker.options, handler };
  return {
    ...worker,
    calls,
    hooks,
    hear: async () => await worker.pauses.read(db.database),
    turn: async (...ids: string[]) => void (await Promise.all(ids.map((id) => runTurn(options, id)))),
    taken: () => calls.splice(0),
  };
}

test(
  "nothing of what is paused starts, of accounts that come later either; the rest goes on, also in the same account",
  withDatabase(async (db) => {
    const system = await createSystem(db);
    await insertPause(db.database, { covers: "prefix", value: "tenant7/", who });
    await insertPause(db.database, { covers: "type", value: "pay.*", who });
    await system.hear();
    await append(db, "mail.sent", "tenant7/a", "b", "c");
    await append(db, "pay.made", "b", "d");
    await append(db, "mail.sent", "b");
    await append(db, null, "e", "tenant7/f");
    await system.turn("tenant7/a", "b", "c", "d", "e", "tenant7/f");
    assert.deepEqual(system.taken().toSorted(), ["b/1", "c/1", "e/1"]);
    const resting = { b: "rests", c: "idle", d: "rests", e: "idle", "tenant7/a": "rests", "tenant7/f": "rests" };
    assert.deepEqual(await standings(db), resting);
    const heads = await db.query("select head_attempts, head_error from inturn.accounts where paused_by is not null");
    assert.deepEqual(
      new Set(heads.map((head) => JSON.stringify(head))),
      new Set(['{"head_attempts":0,"head_error":null}']),
    );
    assert.deepEqual(
      (await listPauses(db.database)).map(({ covers, value, accounts, events }) => [covers, value, accounts, events]),
      [
        ["prefix", "tenant7/", 2, 2],
        ["type", "pay.*", 2, 3],
      ],
    );
    // Its end wakes them, each in its order.
    assert.equal((await endPause(db.database, { covers: "type", value: "pay.*", who })).accounts, 2);
    await system.hear();
    assert.equal(await tendPauses(db.database), 2);
    await system.turn("b", "d", "tenant7/a");
    assert.deepEqual(system.taken().toSorted(), ["b/2", "b/3", "d/1"]);
    const log = await db.query("select verb, covers, who from inturn.operator_log order by id");
    assert.deepEqual(log, [
      { verb: "pause", covers: "prefix tenant7/", who },
      { verb: "pause", covers: "type pay.*", who },
      { verb: "resume", covers: "type pay.*", who },
    ]);
  }),
);

test(
  "the answer waits for workers that may still start something, and for events in hand; it names who has not answered",
  withDatabase(async (db) => {
    const system = await createSystem(db);
    const identity = {
      id: system.id,
      host: "test",
      pid: 1,
      concurrency: 10,
      lifeKey: null,
      graphilePool: null,
      inHand: 0,
    };
    const renew = async (pausesVersion: number | null) =>
      await renewWorkerLease(db.database, { ...identity, pausesVersion }, 60_000);
    const { version } = await insertPause(db.database, { ...everything, who });
    const asks = async () => (await listUnconfirmed(db.database, version)).length;
    assert.equal(await asks(), 1, "it has just renewed its lease, by an older list");
    assert.equal((await renew(0)).pausesVersion, version);
    await db.query("update inturn.workers set renewed_at = clock_timestamp() - interval '1.1 seconds'");
    assert.equal(await asks(), 0, "a worker that is stopped starts nothing before it has heard of the list");
    await renew(null);
    await db.query("update inturn.workers set renewed_at = clock_timestamp() - interval '1.1 seconds'");
    assert.equal(await asks(), 1, "a worker of a version without lists is never sure");
    await expireLease(db, system.id);
    assert.equal(await asks(), 0);
    await renew(version);
    assert.equal(await asks(), 0);

    await endPause(db.database, { ...everything, who });
    await append(db, null, "a", "a");
    let end = (): void => undefined;
    const ended = new Promise<void>((resolve) => (end = resolve));
    system.hooks.onCall = async () => await ended;
    await system.hear();
    const turn = system.turn("a");
    while (system.calls.length === 0) await renew(system.pauses.version);
    let isPaused = false;
    const paused = beginPause(db.database, { ...everything, who }).then((begun) => {
      isPaused = true;
      return begun;
    });
    while ((await listPauses(db.database)).length === 0);
    await system.hear();
    for (let i = 0; i < 20; i += 1) await renew(system.pauses.version);
    assert.equal(isPaused, false, "event 1 is in hand");
    end();
    await turn;
    const { unconfirmed, inHand } = await paused;
    assert.deepEqual([unconfirmed, inHand], [[], 0]);
    assert.deepEqual([system.taken(), await standings(db)], [["a/1"], { a: "rests" }]);
  }),
);

test(
  "a worker that does not answer is named after ten seconds",
  withDatabase(async (db) => {
    const { id, renew } = await createTestWorker(db);
    const over = new AbortController();
    const renewing = (async () => {
      while (!over.signal.aborted) await renew();
    })();
    const { unconfirmed } = await beginPause(db.database, { ...everything, who });
    over.abort();
    await renewing;
    assert.deepEqual(unconfirmed, [{ workerId: id, host: "test", pid: 1 }]);
  }),
);

test(
  "with a rate one event of each account starts, those first that have rested longest, until fewer start than may",
  withDatabase(async (db) => {
    const system = await createSystem(db);
    const accounts = Array.from({ length: 12 }, (_, i) => `a${String(i).padStart(2, "0")}`);
    await insertPause(db.database, { ...everything, who });
    await system.hear();
    for (let i = 0; i < 3; i += 1) await append(db, null, ...accounts);
    for (const id of accounts) await system.turn(id);
    await endPause(db.database, { ...everything, rate: 10, who });
    await system.hear();
    const letPass = async (ms: number) => {
      await db.query(
        "update inturn.pauses set released_at = clock_timestamp() - $1 * interval '1 millisecond' where rate is not null",
        [ms],
      );
      await tendPauses(db.database);
      await system.turn(...accounts);
    };
    await letPass(450);
    assert.deepEqual(system.taken().toSorted(), ["a00/1", "a01/1", "a02/1", "a03/1"], "0.45 seconds at 10 a second");
    await letPass(60_000);
    assert.equal(system.taken().length, 10, "what was not used for longer than a second is not made up for");
    assert.equal(Object.values(await standings(db)).filter((standing) => standing === "rests").length, 12);
    // Another pause that covers them does not let them through.
    await insertPause(db.database, { covers: "prefix", value: "a0", who });
    await system.hear();
    await letPass(1_000);
    assert.deepEqual(
      system.taken().filter((call) => call.startsWith("a0")),
      [],
    );
    await endPause(db.database, { covers: "prefix", value: "a0", who });
    await system.hear();
    // Nor does the same one, when it is begun anew after it has let some go on.
    await db.query("update inturn.pauses set released_at = clock_timestamp() - interval '1 second'");
    await tendPauses(db.database);
    const released =
      "select from inturn.accounts where paused_by = (select id from inturn.pauses) and paused_at is null";
    assert.ok((await db.query(released)).length > 0);
    await insertPause(db.database, { ...everything, who });
    await system.hear();
    await system.turn(...accounts);
    assert.deepEqual(system.taken(), []);
    await endPause(db.database, { ...everything, rate: 10, who });
    await system.hear();
    // An append that has all of them locked is no sign that nobody rests.
    const session = await db.database.connect();
    await session.query("begin; select from inturn.accounts for update");
    await db.query("update inturn.pauses set released_at = clock_timestamp() - interval '1 second'");
    assert.deepEqual([await tendPauses(db.database), (await listPauses(db.database)).length], [0, 1]);
    await session.query("rollback");
    session.release();
    for (let i = 0; (await listPauses(db.database)).length > 0; i += 1) {
      assert.ok(i < 20, "it ends");
      await letPass(1_000);
    }
    await system.hear();
    for (let i = 0; i < 3; i += 1) await tendPauses(db.database);
    await system.turn(...accounts);
    assert.ok(Object.values(await standings(db)).every((standing) => standing === "idle"));
    assert.deepEqual(await db.query("select who, why from inturn.operator_log order by id desc limit 1"), [
      { who: "inturn", why: "fewer events of it start than may" },
    ]);
  }),
);

test(
  "a pause ends by itself when its time is over, and who rests because of a pause that is no more is woken",
  withDatabase(async (db) => {
    const system = await createSystem(db);
    await insertPause(db.database, { ...everything, until: "2126-01-01T00:00:00Z", who });
    await system.hear();
    await append(db, null, "a", "b");
    await system.turn("a");
    await db.query("update inturn.pauses set until = clock_timestamp()");
    await tendPauses(db.database);
    assert.deepEqual(await listPauses(db.database), []);
    // A worker that has not heard of the end yet.
    await system.turn("b");
    assert.equal((await standings(db))["b"], "rests");
    await tendPauses(db.database);
    assert.deepEqual(await standings(db), { a: "scheduled", b: "scheduled" });
    await system.hear();
    await system.turn("a", "b");
    assert.deepEqual(system.taken().toSorted(), ["a/1", "b/1"]);
  }),
);

test(
  "pauses of one account and of many do not disturb each other",
  withDatabase(async (db) => {
    const system = await createSystem(db);
    const verb = async (name: "pause" | "resume" | "skip", accountId: string) =>
      await operate(db.database, { verb: name, accountId, who });
    await append(db, null, "a", "b", "c");
    await verb("pause", "a");
    await insertPause(db.database, { ...everything, who });
    await system.hear();
    await system.turn("a", "b", "c");
    await verb("pause", "b");
    await assert.rejects(verb("resume", "c"), { code: "account_covered" });
    await verb("skip", "c");
    await verb("resume", "a");
    await verb("pause", "a");
    assert.deepEqual(await standings(db), { a: "paused", b: "paused", c: "rests" });
    await endPause(db.database, { ...everything, who });
    await system.hear();
    await tendPauses(db.database);
    assert.deepEqual(await standings(db), { a: "paused", b: "paused", c: "idle" });
    await verb("resume", "a");
    await verb("resume", "b");
    await system.turn("a", "b");
    assert.deepEqual(system.taken().toSorted(), ["a/1", "b/1"]);
    await assert.rejects(endPause(db.database, { ...everything, who }), { code: "pause_not_found" });
    for (const bad of [
      { covers: "all", value: "x" },
      { covers: "type", value: "" },
      { covers: "prefix", value: "x".repeat(256) },
      { covers: "none", value: "x" },
      { ...everything, until: "2020-01-01T00:00:00Z" },
    ])
      await assert.rejects(insertPause(db.database, { ...bad, who } as never), { code: "operation_invalid" });
    assert.deepEqual(await listPauses(db.database), []);
  }),
);
