/**
 * Targets over HTTP, on the command line and on the overview.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { insertApiKey } from "../src/db/api-keys.ts";
import { createKey } from "../src/engine/access.ts";
import { createTestApp } from "./support/app.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { runProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

async function appendWaiting(db: TestDatabase, ...accountIds: string[]): Promise<void> {
  await appendEvents(
    db.database,
    accountIds.map((accountId) => newEvent({ accountId, data: "{}" })),
  );
  await db.query("update inturn.accounts set state = 'waiting', head_target = 'stripe'");
}

test(
  "a target is listed, opened and closed over HTTP, by whoever may operate and reaches all accounts",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    const get = async () => await (await app.request("/v1/targets")).json();
    const post = async (path: string, body?: unknown) => {
      const response = await app.request(`/v1/targets/${path}`, {
        method: "POST",
        ...(body !== undefined && {
          body: JSON.stringify(body),
          headers: { "content-type": "application/json" },
        }),
      });
      return [response.status, (await response.json()) as Record<string, unknown>] as const;
    };
    assert.deepEqual(await get(), { targets: [] });
    const opened = { target: "stripe", verb: "open", state: "open", accounts: 0 };
    assert.deepEqual(await post("stripe/open", { why: "maintenance", until: "2126-01-01T00:00:00Z" }), [200, opened]);
    await appendWaiting(db, "a", "b");
    const { targets } = (await get()) as { targets: Record<string, unknown>[] };
    const { awaySince, nextProbeAt, ...rest } = targets[0] ?? {};
    assert.equal(new Date(String(nextProbeAt)).toISOString(), "2126-01-01T00:00:00.000Z");
    assert.ok(Math.abs(Date.parse(String(awaySince)) - Date.now()) < 60_000);
    assert.deepEqual(rest, {
      target: "stripe",
      state: "open",
      reason: "maintenance",
      failedProbes: 0,
      probeAccount: null,
      byHand: true,
      waitingAccounts: 2,
      waitingEvents: 2,
    });
    const account = (await (await app.request("/v1/accounts/a")).json()) as Record<string, unknown>;
    assert.deepEqual([account["state"], account["waitsFor"]], ["waiting", "stripe"]);
    const waiting = (await (await app.request("/v1/accounts?state=waiting")).json()) as { accounts: unknown[] };
    assert.equal(waiting.accounts.length, 2);
    const page = await (await app.request("/")).text();
    assert.match(page, /<strong>stripe is away<\/strong> for .*: 2 accounts wait, with 2 events, next try in \d+ d/);
    assert.match(await (await app.request("/accounts/a")).text(), /Event 1 waits for its target stripe, which is away/);
    assert.deepEqual(await post("stripe/close"), [200, { ...opened, verb: "close", state: "closed", accounts: 2 }]);
    await until("the overview has news", async () => /stripe is back/.test(await (await app.request("/")).text()));

    const refusals: [string, unknown, number, string][] = [
      ["stripe/close", undefined, 409, "target_not_open"],
      ["other/close", {}, 409, "target_not_open"],
      [`${"x".repeat(101)}/open`, {}, 422, "operation_invalid"],
      ["stripe/open", { until: "tomorrow" }, 422, "operation_invalid"],
      ["stripe/open", { until: "2026-01-01T00:00:00" }, 422, "operation_invalid"],
      ["stripe/open", { why: 1 }, 422, "operation_invalid"],
      ["stripe/close", { until: "2126-01-01T00:00:00Z" }, 422, "operation_invalid"],
      ["a%00b/open", {}, 400, "path_invalid"],
    ];
    for (const [path, body, status, code] of refusals) {
      const [found, answer] = await post(path, body);
      assert.deepEqual([found, answer["code"]], [status, code], path);
    }

    const { id, key, hash } = createKey();
    await insertApiKey(db.database, {
      id,
      name: "tenant",
      hash,
      scopes: ["read", "operate"],
      accountPrefix: "tenant7/",
      eventsPerSecond: null,
    });
    const authorization = `Bearer ${key}`;
    await until("the key is known", async () => (await app.request("/v1/targets")).status === 401);
    assert.equal((await app.request("/v1/targets", { headers: { authorization } })).status, 403);
    const open = await app.request("/v1/targets/stripe/open", { method: "POST", headers: { authorization } });
    assert.equal(open.status, 403);
  }),
);

test(
  "the command line lists, opens and closes targets, and status names those that are away",
  withDatabase(async (db) => {
    const environment = { DATABASE_URL: db.url };
    const run = async (...args: string[]) => await runProcess(args, environment);
    assert.equal((await run("target", "list")).stdout, "No target is away.\n");
    const opened = await run("target", "open", "stripe", "--why", "maintenance", "--who", "kim");
    assert.equal(opened.stdout, "open: target stripe is open; accounts that wait for it: 0\n");
    await appendWaiting(db, "a");
    const listed = await run("target", "list");
    assert.match(listed.stdout, /stripe +open +\S+ \w+ +1 +1 +when a person closes it +maintenance/);
    assert.match((await run("status")).stdout, /TARGET +STATE .*\nstripe +open /);
    const [json] = JSON.parse((await run("target", "list", "--json")).stdout) as { byHand: boolean }[];
    assert.equal(json?.byHand, true);
    const bad = await run("target", "open", "stripe", "--until", "2026-01-01");
    assert.deepEqual([bad.code, /It takes a time with its zone/.test(bad.stderr)], [2, true]);
    assert.equal((await run("target", "close", "stripe")).code, 0);
    const again = await run("target", "close", "stripe");
    assert.deepEqual([again.code, /target 'stripe' is not open.*\[target_not_open\]/.test(again.stderr)], [1, true]);
    const log = await db.query("select verb, target, who, why from inturn.operator_log order by id limit 1");
    assert.deepEqual(log, [{ verb: "open", target: "stripe", who: "kim", why: "maintenance" }]);
  }),
);
