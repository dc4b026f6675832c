/**
 * The dashboard without a browser: who sees it, what its forms do, and what stands on its pages.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { insertApiKey } from "../src/db/api-keys.ts";
import { createKey } from "../src/engine/access.ts";
import { createTestApp } from "./support/app.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";

type App = ReturnType<typeof createTestApp>;

const HTML = { accept: "text/html" };

const PAGES = ["/", "/accounts", "/accounts/a", "/lanes", "/dead-letters", "/workers", "/results"];

async function makeKey(db: TestDatabase, scopes = ["read", "operate"], accountPrefix: string | null = null) {
  const { id, key, hash } = createKey();
  await insertApiKey(db.database, {
    id,
    name: "kim",
    hash,
    scopes: scopes as [],
    accountPrefix,
    eventsPerSecond: null,
  });
  return key;
}

/** Sends a form, as a browser would. */
async function send(app: App, path: string, fields: Record<string, string>, headers: Record<string, string> = {}) {
  return await app.request(path, {
    method: "POST",
    body: new URLSearchParams(fields),
    headers: { ...HTML, ...headers },
  });
}

async function signIn(app: App, key: string, to = "/accounts"): Promise<{ cookie: string; response: Response }> {
  const response = await send(app, "/sign-in", { key, to });
  return { cookie: (response.headers.get("set-cookie") ?? "").split(";")[0] ?? "", response };
}

async function tokenOn(app: App, path: string, headers: Record<string, string> = {}): Promise<string> {
  const page = await (await app.request(path, { headers: { ...HTML, ...headers } })).text();
  return /name="token" value="([0-9a-f]{64})"/.exec(page)?.[1] ?? "";
}

const appendOne = async (db: TestDatabase, accountId = "a") =>
  await appendEvents(db.database, [newEvent({ accountId, data: '{"n":1}' })]);

test(
  "as soon as there is a key, every page asks for one, and who signs in with it sees them",
  withDatabase(async (db) => {
    await appendOne(db);
    const key = await makeKey(db);
    const app = createTestApp(db.database);
    for (const path of PAGES) {
      const asked = await app.request(path, { headers: HTML });
      assert.equal(asked.status, 401, path);
      const page = await asked.text();
      assert.match(page, /<input type="password" name="key"/, path);
      assert.match(page, new RegExp(`name="to" value="${path}"`), path);
    }
    assert.equal((await signIn(app, `${key}x`)).response.status, 401);
    assert.equal((await signIn(app, "")).response.status, 401);
    const { response, cookie } = await signIn(app, key);
    assert.deepEqual([response.status, response.headers.get("location")], [303, "/accounts"]);
    assert.match(response.headers.get("set-cookie") ?? "", /HttpOnly; SameSite=Strict$/);
    for (const path of PAGES) {
      const shown = await app.request(path, { headers: { ...HTML, cookie } });
      assert.equal(shown.status, 200, path);
      assert.match(await shown.text(), /Sign out/);
    }
    // The API takes keys in headers only: a form of another site could send a cookie along.
    assert.equal((await app.request("/v1/accounts", { headers: { cookie } })).status, 401);
    const token = await tokenOn(app, "/accounts/a", { cookie });
    const out = await send(app, "/sign-out", { token }, { cookie });
    assert.match(out.headers.get("set-cookie") ?? "", /^inturn_key=; Max-Age=0/);
  }),
);

test(
  "a sign-in leads to this server only, and a key that sees less than all sees no page",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    const key = await makeKey(db);
    for (const to of ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\nb"]) {
      assert.equal((await signIn(app, key, to)).response.headers.get("location"), "/", to);
    }
    const limited = await makeKey(db, ["read"], "eu-");
    const blind = await makeKey(db, ["ingest"]);
    await until("the keys are known", async () => (await signIn(app, limited)).response.status === 403);
    await until("the keys are known", async () => (await signIn(app, blind)).response.status === 403);
    assert.equal((await signIn(app, limited)).cookie, "");
  }),
);

test(
  "a form changes something only with its token, from this server's pages, and for who may operate",
  withDatabase(async (db) => {
    await appendOne(db);
    const app = createTestApp(db.database);
    const operate = async (fields: Record<string, string>, headers: Record<string, string> = {}) => {
      const response = await send(app, "/accounts/a/pause", fields, { accept: "*/*", ...headers });
      return [response.status, response.status === 303 ? "" : ((await response.json()) as { code: string }).code];
    };
    const token = await tokenOn(app, "/accounts/a");
    assert.equal(token.length, 64);
    assert.deepEqual(await operate({}), [403, "form_refused"]);
    assert.deepEqual(await operate({ token: "x".repeat(64) }), [403, "form_refused"]);
    assert.deepEqual(await operate({ token }, { origin: "http://evil.example" }), [403, "origin_refused"]);
    assert.deepEqual(await operate({ token }, { "sec-fetch-site": "cross-site" }), [403, "origin_refused"]);
    assert.deepEqual(await operate({ token, why: "x".repeat(2_001) }), [422, "operation_invalid"]);
    assert.deepEqual(await db.query("select from inturn.operator_log"), []);
    assert.deepEqual(await operate({ token, why: "deploy" }), [303, ""]);
    const [cookie, other, reader] = await Promise.all([
      makeKey(db).then((key) => `inturn_key=${key}`),
      makeKey(db).then((key) => `inturn_key=${key}`),
      makeKey(db, ["read"]).then((key) => `inturn_key=${key}`),
    ]);
    await until("the keys are known", async () => (await tokenOn(app, "/accounts/a")) === "");
    assert.deepEqual(await operate({ token }, { cookie }), [403, "form_refused"]);
    assert.deepEqual(await operate({ token: await tokenOn(app, "/accounts/a", { cookie: other }) }, { cookie }), [
      403,
      "form_refused",
    ]);
    const readers = await tokenOn(app, "/", { cookie: reader });
    assert.deepEqual(await operate({ token: readers }, { cookie: reader }), [403, "scope_missing"]);
    const page = await (await app.request("/accounts/a", { headers: { ...HTML, cookie: reader } })).text();
    assert.doesNotMatch(page, /popovertarget/);
    assert.deepEqual(await db.query("select verb, who, why from inturn.operator_log"), [
      { verb: "pause", who: "http", why: "deploy" },
    ]);
  }),
);

test(
  "each verb has its form: what it did is recorded, and what cannot be done is told",
  withDatabase(async (db) => {
    await appendEvents(db.database, [newEvent({ accountId: "a/b ü" }), newEvent({ accountId: "a/b ü" })]);
    const app = createTestApp(db.database);
    const path = `/accounts/${encodeURIComponent("a/b ü")}`;
    const operate = async (verb: string, fields: Record<string, string> = {}) =>
      await send(app, `${path}/${verb}`, { token: await tokenOn(app, path), ...fields });
    const paused = await operate("pause");
    assert.deepEqual([paused.status, paused.headers.get("location")], [303, `${path}?done=pause`]);
    assert.match(await (await app.request(`${path}?done=pause`)).text(), /pause was carried out/);
    for (const verb of ["resume", "skip"]) assert.equal((await operate(verb)).status, 303, verb);
    assert.equal((await operate("replay", { seq: "1" })).status, 303);
    const refused = await operate("redrive", { seq: "1" });
    assert.equal(refused.status, 409);
    assert.match(await refused.text(), /no dead letter/);
    for (const seq of ["", "0", "-1", "1e3", "x"]) assert.equal((await operate("replay", { seq })).status, 422, seq);
    assert.deepEqual(await db.query("select verb, seq from inturn.operator_log order by id"), [
      { verb: "pause", seq: 1 },
      { verb: "resume", seq: 1 },
      { verb: "skip", seq: 1 },
      { verb: "replay", seq: 1 },
    ]);
  }),
);

test(
  "a verb for all that match is counted, begun and cancelled by forms with a token",
  withDatabase(async (db) => {
    await appendEvents(
      db.database,
      ["a", "b", "c"].map((accountId) => newEvent({ accountId })),
    );
    await db.query("update inturn.accounts set state = 'blocked', head_error = 'ECONNREFUSED' where id <> 'c'");
    const app = createTestApp(db.database);
    const listing = await (await app.request("/accounts?state=blocked")).text();
    assert.match(listing, /All that match.*action="\/operations\/count".*<option selected>blocked/s);
    const token = await tokenOn(app, "/accounts");
    const fields = { token, verb: "retry", state: "blocked", error: "econn", why: "<b>mended</b>" };
    const counted = await (await send(app, "/operations/count", fields)).text();
    assert.match(counted, /<strong>2 match now\.<\/strong> Nothing was changed yet/);
    assert.match(counted, /name="why" value="&lt;b&gt;mended&lt;\/b&gt;"/);
    assert.deepEqual(await db.query("select from inturn.bulk_operations"), []);
    assert.equal((await send(app, "/operations", { ...fields, token: "" })).status, 403);
    for (const wrong of [{ verb: "replay" }, { state: "stuck" }, { error: "x".repeat(2_001) }]) {
      assert.equal((await send(app, "/operations", { ...fields, ...wrong })).status, 422);
    }
    const begun = await send(app, "/operations", fields);
    const path = begun.headers.get("location") ?? "";
    assert.deepEqual([begun.status, path], [303, "/operations/1"]);
    const page = await (await app.request(path, { headers: HTML })).text();
    assert.match(page, /Accounts in the state blocked, with econn in the error\. Begun .* by http: &lt;b&gt;mended/);
    assert.match(page, /<strong>running<\/strong>: 0 of 2 done/);
    assert.equal((await send(app, `${path}/cancel`, { token })).status, 303);
    assert.match(await (await app.request("/operations")).text(), /<td>cancelled<\/td>/);
    assert.equal((await app.request("/operations/99", { headers: HTML })).status, 404);
    const reader = await makeKey(db, ["read"]);
    await until("the key is known", async () => (await app.request("/accounts")).status === 401);
    const seen = await (
      await app.request("/accounts", { headers: { ...HTML, cookie: `inturn_key=${reader}` } })
    ).text();
    assert.doesNotMatch(seen, /All that match/);
  }),
);

test(
  "what strangers wrote stands on every page as text, and nothing is loaded from elsewhere",
  withDatabase(async (db) => {
    const script = `"><script>alert(1)</script><img src=x onerror=alert(2)>`;
    await appendEvents(db.database, [
      newEvent({ accountId: script, type: script, id: script, data: JSON.stringify({ script }) }),
      newEvent({ accountId: script, data: JSON.stringify({ script: script.repeat(10) }) }),
    ]);
    await db.query("update inturn.events set outcome = 'dead', processed_at = now(), error = $1 where seq = 1", [
      script,
    ]);
    await db.query(
      "update inturn.accounts set state = 'blocked', head_error = $1, processed_seq = 1, dead = 1, head_attempts = 3",
      [script],
    );
    await db.query(
      `insert into inturn.workers (id, host, pid, concurrency, lease_expires_at)
       values (gen_random_uuid(), $1, 1, 10, now() + interval '1 minute')`,
      [script],
    );
    const app = createTestApp(db.database);
    const account = `/accounts/${encodeURIComponent(script)}`;
    const search = `/accounts?search=${encodeURIComponent(script)}`;
    for (const path of [...PAGES.filter((page) => page !== "/accounts/a"), account, search]) {
      const response = await app.request(path, { headers: HTML });
      assert.equal(response.status, 200, path);
      const page = await response.text();
      assert.doesNotMatch(page, /<script>alert|<img src=x/, path);
      assert.doesNotMatch(page, /(?:src|href|action)="(?:https?:)?\/\//, path);
      assert.match(response.headers.get("content-security-policy") ?? "", /default-src 'none'.*frame-ancestors 'none'/);
      if (path !== "/lanes") assert.match(page, /&lt;script&gt;alert\(1\)/, path);
    }
    const data = await app.request(`${account}/events/2/data`);
    assert.deepEqual(
      [data.headers.get("content-type"), data.headers.get("x-content-type-options")],
      ["application/json", "nosniff"],
    );
  }),
);

test(
  "behind a proxy every page, form and file is found under the base path, whether the proxy takes it away or not",
  withDatabase(async (db) => {
    await appendOne(db);
    const app = createTestApp(db.database, { basePath: "/queue" });
    for (const path of PAGES) {
      for (const asked of [path, `/queue${path}`]) {
        const response = await app.request(asked, { headers: HTML });
        assert.equal(response.status, 200, asked);
        const links = [...(await response.text()).matchAll(/\s(?:src|href|action|hx-get|hx-sse:connect)="([^"]+)"/g)];
        const outside = links.map(([, link]) => link ?? "").filter((link) => !/^(?:#|\/queue\/)/.test(link));
        assert.deepEqual(outside, [], asked);
        for (const [, link = ""] of links.filter(([, to]) => to?.includes("/assets/"))) {
          assert.equal((await app.request(link)).status, 200, link);
        }
      }
    }
    assert.equal((await app.request("/queue/v1/accounts")).status, 200);
    assert.equal((await app.request("/queue")).status, 200);
    assert.equal((await app.request("/queuevil")).status, 404);
    const key = await makeKey(db);
    await until("the key is known", async () => (await app.request("/")).status === 401);
    const { response } = await signIn(app, key);
    assert.equal(response.headers.get("location"), "/queue/accounts");
    assert.match(response.headers.get("set-cookie") ?? "", /; Path=\/queue\//);
  }),
);

test(
  "an error on a page is a page for who reads pages, and a problem document for everybody else",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    const page = await app.request("/accounts/nobody", { headers: HTML });
    assert.equal(page.status, 404);
    assert.match(await page.text(), /<code>account_not_found<\/code>/);
    const problem = await app.request("/accounts/nobody");
    assert.equal(((await problem.json()) as { code: string }).code, "account_not_found");
  }),
);
