/**
 * Pauses of more than one account over HTTP, on the command line, on the overview; and with real workers, one of which is stopped.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { insertApiKey } from "../src/db/api-keys.ts";
import { createKey } from "../src/engine/access.ts";
import { createTestApp } from "./support/app.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { countOverlaps, createEffects, RECORDING_HANDLER } from "./support/effects.ts";
import { runProcess, startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

async function appendResting(db: TestDatabase, pauseId: number, ...accountIds: string[]): Promise<void> {
  await appendEvents(
    db.database,
    accountIds.map((accountId) => newEvent({ accountId, data: "{}" })),
  );
  await db.query("update inturn.accounts set paused_at = clock_timestamp(), paused_by = $1", [pauseId]);
}

test(
  "pauses are begun, listed and ended over HTTP, by whoever may operate and reaches what they cover",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    const { id: keyId, key, hash } = createKey();
    const send = async (path: string, body?: unknown, authorization?: string) => {
      const response = await app.request(`/v1/pauses${path}`, {
        method: body === undefined ? "GET" : "POST",
        ...(body !== undefined && { body: JSON.stringify(body) }),
        headers: { "content-type": "application/json", ...(authorization !== undefined && { authorization }) },
      });
      return [response.status, (await response.json()) as Record<string, unknown>] as const;
    };
    assert.deepEqual(await send(""), [200, { pauses: [] }]);
    const [status, begun] = await send("", { all: true, why: "the database moves", who: "kim" });
    const id = Number(begun["id"]);
    assert.deepEqual([status, begun], [200, { id, covers: "all", value: "", unconfirmed: [], inHand: 0 }]);
    await appendResting(db, id, "a", "b");
    const { since, ...listed } = ((await send(""))[1]["pauses"] as Record<string, unknown>[])[0] ?? {};
    assert.ok(Math.abs(Date.parse(String(since)) - Date.now()) < 60_000);
    const why = "the database moves";
    const common = { id, covers: "all", value: "", who: "kim", why };
    assert.deepEqual(listed, { ...common, until: null, rate: null, accounts: 2, events: 2 });
    const page = await (await app.request("/")).text();
    assert.match(
      page,
      /<strong>everything is paused<\/strong> for [^:]* by kim: 2 accounts rest, with 2 events, until it is resumed.*the database moves/,
    );
    const account = (await (await app.request("/v1/accounts/a")).json()) as Record<string, unknown>;
    assert.equal(account["state"], "paused");
    const resumeOne = await app.request("/v1/accounts/a/resume", { method: "POST" });
    assert.deepEqual([resumeOne.status, ((await resumeOne.json()) as { code: string }).code], [409, "account_covered"]);
    assert.deepEqual(await send(`/${id}/resume`, { rate: 100 }), [200, { covers: "all", value: "", id, accounts: 2 }]);
    await until("the overview has news", async () =>
      /it goes on with 100 events a second/.test(await (await app.request("/")).text()),
    );
    const [, typed] = await send("", { type: "pay.*", until: "2126-01-01T00:00:00Z" });
    assert.deepEqual([typed["covers"], typed["value"]], ["type", "pay.*"]);
    assert.equal((await send(`/${id}/resume`, {}))[0], 200);

    const refusals: [string, unknown, number, string][] = [
      ["", {}, 422, "operation_invalid"],
      ["", { all: false }, 422, "operation_invalid"],
      ["", { all: true, prefix: "a" }, 422, "operation_invalid"],
      ["", { prefix: "" }, 422, "operation_invalid"],
      ["", { prefix: "x".repeat(256) }, 422, "operation_invalid"],
      ["", { type: 7 }, 422, "operation_invalid"],
      ["", { all: true, until: "tomorrow" }, 422, "operation_invalid"],
      ["", { all: true, until: "2020-01-01T00:00:00Z" }, 422, "operation_invalid"],
      [`/${id}/resume`, {}, 409, "pause_not_found"],
      ["/x/resume", {}, 409, "pause_not_found"],
      [`/${String(typed["id"])}/resume`, { rate: 0 }, 422, "operation_invalid"],
      [`/${String(typed["id"])}/resume`, { rate: 10_001 }, 422, "operation_invalid"],
    ];
    for (const [path, body, expected, code] of refusals) {
      const [found, answer] = await send(path, body);
      assert.deepEqual([found, answer["code"]], [expected, code], `${path} ${JSON.stringify(body)}`);
    }
    assert.equal(((await send(""))[1]["pauses"] as unknown[]).length, 1);

    await insertApiKey(db.database, {
      id: keyId,
      name: "tenant",
      hash,
      scopes: ["read", "operate"],
      accountPrefix: "tenant7/",
      eventsPerSecond: null,
    });
    await until("the key is known", async () => (await send(""))[0] === 401);
    const asTenant = async (path: string, body?: unknown) => await send(path, body, `Bearer ${key}`);
    assert.equal((await asTenant(""))[0], 403);
    for (const body of [{ all: true }, { type: "pay.*" }, { prefix: "tenant" }]) {
      assert.deepEqual((await asTenant("", body))[1]["code"], "scope_missing");
    }
    assert.equal((await asTenant(`/${String(typed["id"])}/resume`, {}))[0], 403);
    const [, own] = await asTenant("", { prefix: "tenant7/shop" });
    assert.equal((await asTenant(`/${String(own["id"])}/resume`, {}))[0], 200);
  }),
);

test(
  "the command line pauses and resumes as a whole, lists pauses, and status names them",
  withDatabase(async (db) => {
    const run = async (...args: string[]) => await runProcess(args, { DATABASE_URL: db.url });
    assert.equal((await run("pause", "--list")).stdout, "Nothing is paused but, perhaps, accounts one by one.\n");
    const paused = await run("pause", "--prefix", "tenant7/", "--until", "2126-01-01T00:00:00Z", "--why", "a dispute");
    assert.deepEqual([paused.stdout, paused.code], ["pause: prefix tenant7/ is paused\n", 0]);
    const table = /prefix tenant7\/ +\S+ \w+ +0 +0 +2126-01-01 00:00:00 +\S+ +a dispute/;
    assert.match((await run("pause", "--list")).stdout, table);
    assert.match((await run("status")).stdout, table);
    const [json] = JSON.parse((await run("pause", "--list", "--json")).stdout) as { covers: string }[];
    assert.equal(json?.covers, "prefix");
    const slowly = await run("resume", "--prefix", "tenant7/", "--rate", "5");
    assert.equal(slowly.stdout, "resume: prefix tenant7/ goes on with 5 events a second; accounts that rested: 0\n");
    assert.match((await run("pause", "--list")).stdout, /5 events\/s start/);
    assert.equal((await run("resume", "--prefix", "tenant7/", "--json")).code, 0);
    const again = await run("resume", "--prefix", "tenant7/");
    assert.deepEqual(
      [again.code, /'?prefix tenant7\/'? is not paused.*\[pause_not_found\]/.test(again.stderr)],
      [1, true],
    );
    // Other choices are for the accounts that there are now.
    const dry = await run("pause", "--prefix", "tenant7/", "--dry-run");
    assert.equal(dry.stdout, "pause: 0 match; nothing was changed\n");
    for (const flags of [
      ["a", "--until", "2126-01-01T00:00:00Z"],
      ["a", "--all"],
      ["--state", "blocked", "--until", "2126-01-01T00:00:00Z"],
      [],
    ]) {
      assert.equal((await run("pause", ...flags)).code, 2, flags.join(" "));
    }
    assert.equal((await db.query("select from inturn.pauses")).length, 0);
  }),
);

test(
  "after the answer no handler starts on any worker, also on one that was stopped and is woken; with a rate so many start",
  withDatabase(async (db) => {
    await createEffects(db);
    const more = { DATABASE_URL: db.url, EFFECTS_URL: db.url, INTURN_HANDLER: RECORDING_HANDLER };
    const workers = Array.from({ length: 3 }, () => startProcess(["work"], { ...more, INTURN_CONCURRENCY: "50" }));
    await Promise.all(workers.map((worker) => worker.ready));
    const accounts = Array.from({ length: 100 }, (_, i) => `a${i}`);
    const over = new AbortController();
    const load = (async () => {
      while (!over.signal.aborted) {
        await db.query("select from inturn.append_events($1::text[], array_fill($2::json, array[$3::integer]))", [
          accounts,
          '{"ms":5}',
          accounts.length,
        ]);
        await sleep(200);
      }
    })();
    const starts = async () => (await db.query<{ n: number }>("select count(*)::integer as n from effects"))[0]?.n ?? 0;
    await until("all workers work", async () => {
      const rows = await db.query("select distinct pid from effects");
      return rows.length === workers.length;
    });
    const stopped = workers[0]?.child;
    stopped?.kill("SIGSTOP");
    const paused = await runProcess(["pause", "--all", "--json"], more);
    const { unconfirmed } = JSON.parse(paused.stdout) as { unconfirmed: unknown[] };
    assert.deepEqual(unconfirmed, [], "it starts nothing before it has heard of the pause");
    const marked = await starts();
    stopped?.kill("SIGCONT");
    await sleep(2_500);
    const inHand = await starts();
    // What the stopped worker had in hand was started before; it is recorded at its end.
    assert.ok(inHand - marked <= 50, `${inHand - marked}`);
    await sleep(1_500);
    assert.equal(await starts(), inHand, "nothing starts");
    over.abort();
    await load;

    assert.equal((await runProcess(["resume", "--all", "--rate", "100"], more)).code, 0);
    await until("it goes on", async () => (await starts()) > inHand);
    const [beganMs, began] = [performance.now(), await starts()];
    await sleep(3_000);
    const perSecond = ((await starts()) - began) / ((performance.now() - beganMs) / 1_000);
    assert.ok(perSecond <= 120, `${perSecond} a second`);
    assert.equal((await runProcess(["resume", "--all"], more)).code, 0);
    await until("all is handled", async () => {
      const [row] = await db.query<{ left: number }>(
        "select sum(last_seq - processed_seq)::integer as left from inturn.accounts",
      );
      return row?.left === 0;
    });
    assert.equal(await countOverlaps(db), 0);
    assert.deepEqual(await db.query("select from inturn.order_violations"), []);
    assert.deepEqual(await Promise.all(workers.map((worker) => worker.stop())), [0, 0, 0]);
  }),
);
