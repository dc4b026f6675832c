/**
 * Targets: an outside system that is away blocks nothing and uses up no attempt, is found to be back by one event at a time, and is
 * then not met by all accounts at once.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { operate } from "../src/db/operate.ts";
import { reconcileOnce } from "../src/db/reconcile.ts";
import { tendTargets } from "../src/db/targets.ts";
import { createRules } from "../src/domain/failure.ts";
import type { HandlerEvent } from "../src/engine/handler.ts";
import { runTurn } from "../src/engine/turn.ts";
import { RetryAtError, TargetAwayError } from "../src/errors/retry.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";
import { createTestWorker, expireLease, rule } from "./support/worker.ts";

const ruleOf = createRules(rule, { "pay.*": { target: "stripe" }, "mail.*": { target: "mail" } });

const append = async (db: TestDatabase, type: string, ...accountIds: string[]) =>
  await appendEvents(
    db.database,
    accountIds.map((accountId) => newEvent({ accountId, type, data: "{}" })),
  );

const states = async (db: TestDatabase) =>
  Object.fromEntries(
    (await db.query<{ id: string; state: string }>("select id, state from inturn.accounts order by id")).map(
      ({ id, state }) => [id, state],
    ),
  );

const target = async (db: TestDatabase, name = "stripe") =>
  (await db.query("select state, failed_probes, probe_account from inturn.targets where name = $1", [name]))[0];

/** The target's time to be tried has come, or comes in a moment. */
const letProbe = async (db: TestDatabase) => {
  await db.query("update inturn.targets set next_probe_at = clock_timestamp() where state = 'open'");
  await tendTargets(db.database);
};

/** A worker whose handler works unless its type's system is away, and what it was called for. */
async function createSystem(db: TestDatabase, away: Set<string>) {
  const worker = await createTestWorker(db);
  const calls: string[] = [];
  const handler = ({ accountId, seq, type }: HandlerEvent) => {
    calls.push(`${accountId}/${seq}`);
    const name = type?.startsWith("pay.") === true ? "stripe" : "mail";
    if (away.has(name)) throw new TargetAwayError(name);
  };
  const options = { ...worker.options, ruleOf, handler };
  return {
    ...worker,
    options,
    calls,
    turn: async (...ids: string[]) => void (await Promise.all(ids.map((id) => runTurn(options, id)))),
  };
}

test(
  "on a handler's word its accounts wait for the target, without an attempt; other targets go on, and so do events before",
  withDatabase(async (db) => {
    const { turn, calls, options } = await createSystem(db, new Set(["stripe"]));
    await append(db, "pay.made", "a", "b");
    await append(db, "mail.sent", "c", "d");
    await append(db, "pay.made", "c");
    await turn("a");
    assert.deepEqual(await target(db), { state: "open", failed_probes: 0, probe_account: null });
    await turn("b", "c", "d");
    assert.deepEqual(calls, ["a/1", "c/1", "d/1"], "b/1 and c/2 were not started");
    assert.deepEqual(await states(db), { a: "waiting", b: "waiting", c: "waiting", d: "idle" });
    const heads = await db.query(
      "select id, head_attempts - attempts_forgiven as counted, head_target, head_error from inturn.accounts where state = 'waiting' order by id",
    );
    assert.deepEqual(heads, [
      { id: "a", counted: 0, head_target: "stripe", head_error: "TargetAwayError: stripe is away" },
      { id: "b", counted: 0, head_target: "stripe", head_error: null },
      { id: "c", counted: 0, head_target: "stripe", head_error: null },
    ]);
    const [shown] = await db.query("select target, state, waiting_accounts, waiting_events from inturn.target_status");
    assert.deepEqual(shown, { target: "stripe", state: "open", waiting_accounts: 3, waiting_events: 3 });
    // A worker that has just come knows nothing yet, and asks as soon as it has looked.
    const second = await createSystem(db, new Set());
    await second.options.targets.look();
    await append(db, "pay.made", "e");
    await second.turn("e");
    assert.deepEqual([second.calls, (await states(db))["e"]], [[], "waiting"]);
    assert.equal(options.targets.isAway("stripe"), true);
  }),
);

test(
  "one event is the probe, of the account that has waited longest; while it fails another one is next, later each time",
  withDatabase(async (db) => {
    const away = new Set(["stripe"]);
    const one = await createSystem(db, away);
    const two = await createSystem(db, away);
    await append(db, "pay.made", "a", "b", "c");
    await one.turn("a");
    for (const id of ["b", "c"]) await one.turn(id);
    await two.options.targets.look();
    await letProbe(db);
    assert.deepEqual(await target(db), { state: "half-open", failed_probes: 0, probe_account: "a" });
    await letProbe(db);
    await Promise.all([one.turn("a", "b", "c"), two.turn("a", "b", "c")]);
    assert.deepEqual([...one.calls, ...two.calls], ["a/1", "a/1"], "the first attempt, and the probe");
    assert.deepEqual(await target(db), { state: "open", failed_probes: 1, probe_account: null });
    assert.deepEqual(await states(db), { a: "waiting", b: "waiting", c: "waiting" });
    const [row] = await db.query<{ ms: number }>(
      "select extract(epoch from next_probe_at - clock_timestamp()) * 1000 as ms from inturn.targets",
    );
    assert.ok((row?.ms ?? 0) > 1_000 && (row?.ms ?? 0) <= 2_000, `${row?.ms}`);
    await letProbe(db);
    assert.equal((await target(db))?.["probe_account"], "b");
    away.clear();
    await two.turn("b");
    assert.deepEqual(await target(db), { state: "closed", failed_probes: 0, probe_account: null });
    await until("all are woken", async () => {
      await tendTargets(db.database);
      return !Object.values(await states(db)).includes("waiting");
    });
    await one.options.targets.look();
    await Promise.all([one.turn("a"), two.turn("c")]);
    assert.deepEqual(await states(db), { a: "idle", b: "idle", c: "idle" });
    assert.deepEqual(await db.query("select distinct attempts from inturn.events order by 1"), [
      { attempts: 1 },
      { attempts: 3 },
    ]);
  }),
);

test(
  "many failures of many accounts open a target, and are forgiven, also where they have blocked; one poisoned account opens nothing",
  withDatabase(async (db) => {
    const worker = await createTestWorker(db);
    const fails = (): never => {
      throw new Error("ECONNREFUSED");
    };
    const once = createRules(
      { ...rule, backoffMs: 60_000, backoffMsMax: 60_000 },
      { "pay.*": { target: "stripe", attemptsMax: 2 } },
    );
    const options = { ...worker.options, handler: fails, ruleOf: once };
    const accounts = Array.from({ length: 15 }, (_, i) => `a${String(i).padStart(2, "0")}`);
    await append(db, "pay.made", "poisoned", ...accounts);
    await db.query("update inturn.accounts set next_attempt_at = null");
    const tryAll = async (...ids: string[]) => {
      await db.query("update inturn.accounts set state = 'scheduled', next_attempt_at = null where state = 'retrying'");
      await Promise.all(ids.map((id) => runTurn(options, id)));
      await options.targets.look();
    };
    // One account fails as often as it likes.
    for (let i = 0; i < 30; i++) options.targets.failed("stripe", "poisoned", "its own fault");
    await tryAll("poisoned");
    await sleep(700);
    await tryAll("poisoned");
    assert.deepEqual([(await target(db))?.["state"], (await states(db))["poisoned"]], ["closed", "blocked"]);
    await db.query(
      "update inturn.accounts set state_since = clock_timestamp() - interval '1 minute' where id = 'poisoned'",
    );

    await tryAll(...accounts);
    assert.equal((await target(db))?.["state"], "open");
    await options.targets.look();
    const found = await states(db);
    assert.deepEqual(
      accounts.filter((id) => found[id] !== "waiting"),
      [],
    );
    assert.equal(found["poisoned"], "blocked", "it was blocked before");
    const [row] = await db.query<{ reason: string }>("select reason from inturn.targets");
    assert.match(row?.reason ?? "", /^\d+ of the last \d+ attempts failed, the last one with: Error: ECONNREFUSED/);
    const counted = await db.query(
      "select distinct head_attempts - attempts_forgiven as counted from inturn.accounts where state = 'waiting'",
    );
    assert.deepEqual(counted, [{ counted: 0 }]);
  }),
);

test(
  "a crowd of poisoned events opens its target, is told from an outage by an event that was not tried yet, and blocks in the end",
  withDatabase(async (db) => {
    const { options } = await createTestWorker(db);
    const poisoned = Array.from({ length: 25 }, (_, i) => `p${String(i).padStart(2, "0")}`);
    const handler = ({ accountId }: HandlerEvent) => {
      if (accountId.startsWith("p")) throw new TypeError("no amount");
    };
    const turn = { ...options, handler, ruleOf: createRules(rule, { "pay.*": { target: "stripe", attemptsMax: 2 } }) };
    const runAll = async (...ids: string[]) => {
      await db.query("update inturn.accounts set next_attempt_at = clock_timestamp() where state = 'retrying'");
      await Promise.all(ids.map((id) => runTurn(turn, id)));
      await options.targets.look();
    };
    await append(db, "pay.made", ...poisoned);
    const openByFailures = async () =>
      await until("the failures have opened it", async () => {
        await runAll(...poisoned);
        return (await target(db))?.["state"] === "open";
      });
    await openByFailures();
    await append(db, "pay.made", "healthy");
    await runAll("healthy");
    assert.equal((await states(db))["healthy"], "waiting");
    await db.query("update inturn.targets set failed_probes = 1");
    await letProbe(db);
    assert.equal((await target(db))?.["probe_account"], "healthy", "of all that wait it alone was not tried");
    await runAll("healthy");
    assert.equal((await target(db))?.["state"], "closed");
    // However often this happens again, it has an end.
    await db.query("update inturn.accounts set head_outages = 9 where head_outages > 0");
    await db.query("update inturn.accounts set state = 'scheduled' where state = 'waiting'");
    await openByFailures();
    await options.targets.look();
    await db.query("select from inturn.close_target('stripe')");
    await db.query("update inturn.accounts set state = 'scheduled' where state = 'waiting'");
    await until("they block", async () => {
      await options.targets.look();
      await runAll(...poisoned);
      await db.query("update inturn.targets set state = 'closed', away_since = null, probe_account = null");
      return (
        new Set(Object.values(await states(db))).has("blocked") && !Object.values(await states(db)).includes("waiting")
      );
    });
    const found = await states(db);
    assert.deepEqual(
      poisoned.filter((id) => found[id] !== "blocked"),
      [],
    );
    assert.equal(found["healthy"], "idle");
  }),
);

test(
  "failures among many more attempts that go well open nothing, whichever worker they meet",
  withDatabase(async (db) => {
    const [one, two] = [await createTestWorker(db), await createTestWorker(db)];
    for (let i = 0; i < 25; i++) one.options.targets.failed("stripe", `a${i}`, "failed");
    for (let i = 0; i < 200; i++) two.options.targets.succeeded("stripe");
    await one.options.targets.look();
    await until("the time to report is over", async () => {
      await Promise.all([one.options.targets.look(), two.options.targets.look()]);
      const [row] = await db.query<{ over: boolean }>(
        "select suspected_since < clock_timestamp() - interval '800 ms' as over from inturn.targets",
      );
      return row?.over === true;
    });
    assert.deepEqual(await target(db), { state: "closed", failed_probes: 0, probe_account: null });
  }),
);

test(
  "a probe whose worker dies, or that is skipped or paused, makes room for the next one",
  withDatabase(async (db) => {
    const away = new Set(["stripe"]);
    const [one, two] = [await createSystem(db, away), await createSystem(db, away)];
    await append(db, "pay.made", "a", "b", "c", "d");
    await one.turn("a");
    for (const id of ["b", "c", "d"]) await one.turn(id);
    await two.options.targets.look();
    await letProbe(db);
    const { promise: dead, resolve: end } = Promise.withResolvers<void>();
    const ended = runTurn({ ...one.options, handler: () => dead }, "a");
    // Claimed is not started: a worker that dies before the call leaves the probe to the next claim of the same account.
    const isCalled = "select from inturn.accounts where id = 'a' and state = 'running' and head_started";
    await until("the probe runs", async () => (await db.query(isCalled)).length === 1);
    await expireLease(db, one.id);
    await reconcileOnce(db.database, { judges: true });
    const probeIs = async (id: string) =>
      await until(`${id} is the probe`, async () => {
        await letProbe(db);
        return (await target(db))?.["probe_account"] === id;
      });
    await probeIs("b");
    await operate(db.database, { verb: "skip", accountId: "b", who: "test" });
    await probeIs("c");
    await operate(db.database, { verb: "pause", accountId: "c", who: "test" });
    await probeIs("d");
    away.clear();
    await two.turn("d");
    assert.equal((await target(db))?.["state"], "closed");
    end();
    await ended;
  }),
);

test(
  "when nobody waits any more the next event is the probe, and only that one",
  withDatabase(async (db) => {
    const away = new Set(["stripe"]);
    const { turn, calls } = await createSystem(db, away);
    await append(db, "pay.made", "a");
    await turn("a");
    await operate(db.database, { verb: "skip", accountId: "a", who: "test" });
    await letProbe(db);
    assert.equal((await target(db))?.["state"], "open");
    await append(db, "pay.made", "b", "c", "d");
    await turn("b", "c", "d");
    assert.equal(calls.length, 2);
    assert.deepEqual(Object.values(await states(db)).toSorted(), ["idle", "waiting", "waiting", "waiting"]);
  }),
);

test(
  "a target that is back is not met by all at once: 16 accounts in the first second, in the order in which they have waited",
  withDatabase(async (db) => {
    const { turn } = await createSystem(db, new Set(["stripe"]));
    const accounts = Array.from({ length: 200 }, (_, i) => `a${String(i).padStart(3, "0")}`);
    await append(db, "pay.made", ...accounts);
    await turn("a000");
    await turn(...accounts.slice(1));
    await db.query(
      "update inturn.accounts set state_since = timestamptz '2026-01-01' + right(id, 3)::integer * interval '1 s'",
    );
    await db.query("select from inturn.close_target('stripe', 'it is back')");
    const wokenAfter = async (ms: number) => {
      await db.query("update inturn.targets set since = clock_timestamp() - $1 * interval '1 ms'", [ms]);
      await tendTargets(db.database);
      const found = await db.query<{ id: string }>(
        "select id from inturn.accounts where state = 'scheduled' order by id",
      );
      return found.map(({ id }) => id);
    };
    assert.equal((await wokenAfter(0)).length <= 1, true);
    assert.deepEqual(await wokenAfter(990), accounts.slice(0, 16));
    assert.deepEqual(await wokenAfter(1_990), accounts.slice(0, 48));
    assert.deepEqual(await wokenAfter(5_000), accounts);
  }),
);

test(
  "a person opens and closes a target: nothing is tried before the end that they have set, and both are recorded",
  withDatabase(async (db) => {
    const { turn, calls, options } = await createSystem(db, new Set());
    await db.query("select from inturn.open_target('stripe', 'maintenance', 'kim')");
    await append(db, "pay.made", "a");
    await options.targets.look();
    await turn("a");
    await tendTargets(db.database);
    assert.deepEqual([calls, await target(db)], [[], { state: "open", failed_probes: 0, probe_account: null }]);
    assert.equal(await options.targets.trip("stripe", "a handler that was under way", 1), true);
    assert.equal((await db.query<{ at: Date | null }>("select next_probe_at as at from inturn.targets"))[0]?.at, null);
    await db.query(
      "select from inturn.open_target('stripe', 'half an hour', 'kim', clock_timestamp() + interval '30 min')",
    );
    await tendTargets(db.database);
    assert.equal((await target(db))?.["state"], "open");
    await db.query("select from inturn.close_target('stripe', 'done', 'kim')");
    await assert.rejects(db.query("select from inturn.close_target('stripe')"), { code: "IT008" });
    await assert.rejects(db.query("select from inturn.open_target('')"), { code: "IT009" });
    assert.deepEqual(await db.query("select verb, account_id, target, who, why from inturn.operator_log order by id"), [
      { verb: "open", account_id: null, target: "stripe", who: "kim", why: "maintenance" },
      { verb: "open", account_id: null, target: "stripe", who: "kim", why: "half an hour" },
      { verb: "close", account_id: null, target: "stripe", who: "kim", why: "done" },
    ]);
    await until("the account is woken", async () => {
      await tendTargets(db.database);
      return (await states(db))["a"] === "scheduled";
    });
    await options.targets.look();
    await turn("a");
    assert.deepEqual(calls, ["a/1"]);
  }),
);

test(
  "an event may be put off without an attempt, for a time in all; then it counts",
  withDatabase(async (db) => {
    const { options } = await createTestWorker(db);
    await append(db, "later", "a");
    const attempts: number[] = [];
    const turn = {
      ...options,
      ruleOf: () => ({ ...rule, attemptsMax: 2, snoozeMsMax: 60_000 }),
      handler: (_event: unknown, { attempt }: { attempt: number }) => {
        attempts.push(attempt);
        throw new RetryAtError("not yet", new Date(Date.now() + 1), { countsAttempt: false });
      },
    };
    const again = async () => {
      await until(
        "it is due",
        async () =>
          (await db.query("select from inturn.accounts where next_attempt_at <= clock_timestamp()")).length === 1,
      );
      await runTurn(turn, "a");
      const [row] = await db.query("select state, head_attempts - attempts_forgiven as counted from inturn.accounts");
      return row;
    };
    await runTurn(turn, "a");
    for (let i = 0; i < 5; i++) assert.deepEqual(await again(), { state: "retrying", counted: 0 });
    await db.query("update inturn.accounts set snoozed_since = clock_timestamp() - interval '61 s'");
    assert.deepEqual(await again(), { state: "retrying", counted: 1 });
    assert.deepEqual(await again(), { state: "blocked", counted: 2 });
    assert.deepEqual(attempts, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert.deepEqual(await db.query("select name from inturn.targets"), [], "that says nothing of the target");
  }),
);
