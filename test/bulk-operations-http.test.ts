/**
 * Operations on many accounts over HTTP and on the command line.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { insertApiKey } from "../src/db/api-keys.ts";
import { carryOnOperation } from "../src/db/bulk-operations.ts";
import { createKey } from "../src/engine/access.ts";
import { createTestApp } from "./support/app.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { runProcess, startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

async function appendBlocked(db: TestDatabase, ...accountIds: string[]): Promise<void> {
  await appendEvents(
    db.database,
    accountIds.map((accountId) => newEvent({ accountId, data: "{}" })),
  );
  await db.query("update inturn.accounts set state = 'blocked', head_error = 'ECONNREFUSED', head_attempts = 3");
}

test(
  "an operation is begun, watched and cancelled over HTTP, for the accounts that the key reaches",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    await appendBlocked(db, "tenant7/a", "tenant7/b", "c");
    const headers: Record<string, string> = { "content-type": "application/json" };
    const post = async (path: string, body: unknown = {}) => {
      const response = await app.request(`/v1/operations${path}`, {
        method: "POST",
        body: JSON.stringify(body),
        headers,
      });
      return [response.status, (await response.json()) as Record<string, unknown>] as const;
    };
    const get = async (path: string) => {
      const response = await app.request(`/v1/operations${path}`, { headers });
      return [response.status, (await response.json()) as Record<string, unknown>] as const;
    };
    const where = { states: ["blocked"], error: "econn" };
    assert.deepEqual(await post("", { verb: "retry", where, dryRun: true }), [200, { id: null, matched: 3 }]);
    const [status, begun] = await post("", { verb: "retry", where, why: "mended", who: "kim" });
    assert.deepEqual([status, begun["matched"]], [202, 3]);
    const id = Number(begun["id"]);
    const [, running] = await get(`/${id}`);
    assert.deepEqual(
      [running["state"], running["matched"], running["done"], running["where"]],
      ["running", 3, 0, where],
    );
    await carryOnOperation(db.database, id);
    assert.deepEqual((await get(`/${id}`))[1]["state"], "done");
    assert.equal(((await get(""))[1]["operations"] as unknown[]).length, 1);
    assert.deepEqual((await post(`/${id}/cancel`))[1]["code"], "operation_ended");
    const [, second] = await post("", { verb: "pause", where: {} });
    const [cancelled, answer] = await post(`/${Number(second["id"])}/cancel`, { why: "a mistake" });
    assert.deepEqual([cancelled, answer["state"]], [200, "cancelled"]);

    const refusals: [string, unknown, number, string][] = [
      ["", {}, 422, "operation_invalid"],
      ["", { verb: "replay", where: {} }, 422, "operation_invalid"],
      ["", { verb: "retry", where: { status: "blocked" } }, 422, "operation_invalid"],
      ["", { verb: "retry", where: { states: [] } }, 422, "operation_invalid"],
      ["", { verb: "retry", where: { states: ["stuck"] } }, 422, "operation_invalid"],
      ["", { verb: "retry", where: { blockedBefore: "yesterday" } }, 422, "operation_invalid"],
      ["", { verb: "retry", where: {}, rate: 0 }, 422, "operation_invalid"],
      ["/0/cancel", {}, 404, "operation_not_found"],
      ["/999/cancel", {}, 404, "operation_not_found"],
    ];
    for (const [path, body, wanted, code] of refusals) {
      const [found, problem] = await post(path, body);
      assert.deepEqual([found, problem["code"]], [wanted, code], JSON.stringify(body));
    }
    assert.deepEqual((await get("/999"))[1]["code"], "operation_not_found");

    const { id: keyId, key, hash } = createKey();
    const scopes = ["read", "operate"] as const;
    await insertApiKey(db.database, {
      id: keyId,
      name: "tenant",
      hash,
      scopes: [...scopes],
      accountPrefix: "tenant7/",
      eventsPerSecond: null,
    });
    await until("the key is known", async () => (await get(""))[0] === 401);
    headers["authorization"] = `Bearer ${key}`;
    assert.equal((await get(""))[0], 403);
    assert.equal((await post("", { verb: "skip", where: {} }))[0], 403);
    const [, own] = await post("", { verb: "skip", where: { prefix: "tenant7/" } });
    assert.equal(own["matched"], 2);
  }),
);

test(
  "the command line counts, begins, waits for the end, lists and cancels",
  withDatabase(async (db) => {
    await appendBlocked(db, "a", "b", "c");
    const run = async (...args: string[]) => await runProcess(args, { DATABASE_URL: db.url });
    const dry = await run("retry", "--state", "blocked", "--error", "ECONNREFUSED", "--dry-run");
    assert.equal(dry.stdout, "retry: 3 match; nothing was changed\n");
    const begun = await run("pause", "--state", "blocked", "--prefix", "a", "--detach", "--who", "kim");
    assert.match(begun.stdout, /^pause: operation \d+, 1 match\n$/);
    const id = /\d+/.exec(begun.stdout)?.[0] ?? "";
    assert.match((await run("operation", "show", id)).stdout, /^operation \d+, pause: running, 0 of 1 done\n$/);
    assert.match((await run("operation", "cancel", id)).stdout, /cancelled/);
    assert.match((await run("operation", "cancel", id)).stderr, /operation_ended/);
    assert.match((await run("operation", "show", "999")).stderr, /operation_not_found/);
    for (const args of [["retry"], ["retry", "a", "--all"], ["redrive", "a"], ["retry", "--state", "stuck"]]) {
      assert.equal((await run(...args)).code, 2, args.join(" "));
    }
    const worker = startProcess(["work"], { DATABASE_URL: db.url, INTURN_HANDLER: "sleep", INTURN_HANDLER_MS: "0" });
    await worker.ready;
    const done = await run("retry", "--state", "blocked", "--why", "mended");
    assert.match(done.stdout, /^operation \d+, retry: done, 3 of 3 done\n$/);
    assert.match((await run("operation", "list")).stdout, /retry: done.*\n.*pause: cancelled/);
    assert.equal(await worker.stop(), 0);
  }),
);
