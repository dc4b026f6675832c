/**
 * Who may: keys, scopes, prefixes, rate limits and signatures.
 */
import assert from "node:assert/strict";
import { request } from "node:http";
import { type AddressInfo, connect, createServer } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import { readSettings } from "../src/config/settings.ts";
import { insertApiKey, revokeApiKey } from "../src/db/api-keys.ts";
import { openDatabase } from "../src/db/pool.ts";
import { insertSource } from "../src/db/sources.ts";
import type { Scope } from "../src/domain/access.ts";
import { createAccess, createKey, createWebhookSecret } from "../src/engine/access.ts";
import { BodyBudget } from "../src/engine/body-budget.ts";
import { networkOf } from "../src/http/address.ts";
import { createLog } from "../src/log/log.ts";
import { startApi } from "../src/service/api.ts";
import { createTestApp } from "./support/app.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { runProcess, startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

type App = ReturnType<typeof createTestApp>;

interface KeyOptions {
  readonly scopes?: readonly Scope[];
  readonly accountPrefix?: string;
  readonly eventsPerSecond?: number;
}

async function makeKey(db: TestDatabase, options: KeyOptions = {}): Promise<{ id: string; key: string }> {
  const { id, key, hash } = createKey();
  const { scopes = ["ingest", "read", "operate"], accountPrefix = null, eventsPerSecond = null } = options;
  await insertApiKey(db.database, { id, name: "test key", hash, scopes, accountPrefix, eventsPerSecond });
  return { id, key };
}

const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

async function send(app: App, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return await app.request("/v1/events", {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers },
  });
}

async function codeOf(response: Response): Promise<[number, string | undefined]> {
  return [response.status, ((await response.json()) as { code?: string }).code];
}

const EVENT = { accountId: "a", data: 1 };

test(
  "as soon as there is a key, whoever comes without a valid one is refused, always with the same words",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    assert.equal((await send(app, EVENT)).status, 202);
    const { id, key } = await makeKey(db);
    await until("the first key closes the door", async () => (await send(app, EVENT)).status === 401);
    const missing = await send(app, EVENT);
    assert.match(missing.headers.get("www-authenticate") ?? "", /^Bearer/);
    assert.deepEqual(await codeOf(missing), [401, "key_missing"]);
    assert.deepEqual(await codeOf(await app.request(`/v1/accounts?api_key=${key}`)), [401, "key_missing"]);
    const answers = new Set<string>();
    const wrong = [
      `Bearer ${key.slice(0, -1)}x`,
      `Bearer ${createKey().key}`,
      `Bearer ${key} `.replace(" ", "  "),
      `Bearer ${key},${key}`,
      `Bearer itn_${id}_`,
      "Bearer",
      `Basic ${Buffer.from(`user:${key}x`).toString("base64")}`,
      `Digest ${key}`,
    ];
    for (const authorization of wrong) {
      const response = await send(app, EVENT, { authorization });
      const { requestId: _, ...answer } = (await response.json()) as Record<string, unknown>;
      assert.equal(answer["code"], "key_invalid", authorization);
      answers.add(JSON.stringify(answer));
    }
    assert.equal(answers.size, 1);
    assert.equal((await send(app, EVENT, bearer(key))).status, 202);
    const basic = { authorization: `Basic ${Buffer.from(`anybody:${key}`).toString("base64")}` };
    assert.equal((await app.request("/results", { headers: basic })).status, 200);
    await revokeApiKey(db.database, id);
    await until("the revoked key is refused", async () => (await send(app, EVENT, bearer(key))).status === 401);
    // The last key is gone, but the door stays shut.
    assert.deepEqual(await codeOf(await send(app, EVENT)), [401, "key_missing"]);
  }),
);

test(
  "without a key nothing is reachable but what is meant for everybody",
  withDatabase(async (db) => {
    await makeKey(db);
    const app = createTestApp(db.database);
    const open: string[] = [];
    const seen = new Set<string>();
    for (const { method, path } of app.routes) {
      if (method === "ALL" || seen.has(method + path)) continue;
      seen.add(method + path);
      const response = await app.request(path.replaceAll(/:\w+/g, "1"), { method });
      if (response.status !== 401) open.push(`${method} ${path} ${response.status}`);
    }
    assert.ok(seen.size > 12);
    const assets = open.filter((route) => route.startsWith("GET /assets/"));
    assert.ok(assets.length > 5);
    assert.deepEqual(open.filter((route) => !assets.includes(route)).toSorted(), [
      "GET /docs 200",
      "GET /docs/start.js 200",
      "GET /docs/swagger-ui-bundle.js 200",
      "GET /docs/swagger-ui.css 200",
      "GET /livez 200",
      "GET /openapi.json 200",
      "GET /readyz 200",
      "POST /sign-in 415",
      "POST /v1/sources/:source 415",
    ]);
    for (const path of ["//v1/accounts", "/v1%2Faccounts", "/v1/accounts/", "/V1/accounts", "/v1/./accounts"]) {
      assert.ok([401, 404].includes((await app.request(path)).status), path);
    }
  }),
);

test(
  "a key does what its scopes say, and nothing else",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    const [ingest, read, operate] = [
      await makeKey(db, { scopes: ["ingest"] }),
      await makeKey(db, { scopes: ["read"] }),
      await makeKey(db, { scopes: ["operate"] }),
    ].map(({ key }) => bearer(key));
    const statuses = async (headers: Record<string, string> = {}) => [
      (await send(app, EVENT, headers)).status,
      (await app.request("/v1/accounts", { headers })).status,
      (await app.request("/results", { headers })).status,
      (await app.request("/v1/accounts/a/pause", { method: "POST", headers })).status,
    ];
    assert.deepEqual(await statuses(ingest), [202, 403, 403, 403]);
    assert.deepEqual(await statuses(read), [403, 200, 200, 403]);
    assert.deepEqual(await statuses(operate), [403, 403, 403, 200]);
    assert.deepEqual(await db.query("select verb, who from inturn.operator_log"), [{ verb: "pause", who: "test key" }]);
    const named = {
      method: "POST",
      body: '{"who":"kim"}',
      headers: { "content-type": "application/json", ...operate },
    };
    await app.request("/v1/accounts/a/resume", named);
    const [last] = await db.query("select who from inturn.operator_log order by id desc limit 1");
    assert.deepEqual(last, { who: "kim (test key)" });
  }),
);

test(
  "accounts beyond a key's prefix do not exist for it, whether they exist or not",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    await send(app, [
      { accountId: "eu-1", data: 1 },
      { accountId: "us-1", data: 1 },
    ]);
    const { key } = await makeKey(db, { accountPrefix: "eu-" });
    await until("the key is known", async () => (await send(app, EVENT)).status === 401);
    const headers = bearer(key);
    const listed = (await (await app.request("/v1/accounts", { headers })).json()) as {
      accounts: { accountId: string }[];
    };
    assert.deepEqual(
      listed.accounts.map(({ accountId }) => accountId),
      ["eu-1"],
    );
    for (const accountId of ["us-1", "us-2"]) {
      for (const [method, path] of [
        ["GET", ""],
        ["GET", "/events"],
        ["GET", "/events/1"],
        ["POST", "/skip"],
      ] as const) {
        const response = await app.request(`/v1/accounts/${accountId}${path}`, { method, headers });
        assert.deepEqual(await codeOf(response), [404, "account_not_found"], path);
      }
      const mixed = [
        { accountId: "eu-1", data: 2 },
        { accountId, data: 2 },
      ];
      assert.deepEqual(await codeOf(await send(app, mixed, headers)), [404, "account_not_found"]);
      const lines = [...mixed.toReversed(), mixed[0]].map((event) => `${JSON.stringify(event)}\n`).join("");
      const streamed = await app.request("/v1/events", {
        method: "POST",
        body: lines,
        headers: { "content-type": "application/x-ndjson", ...headers },
      });
      assert.deepEqual(await codeOf(streamed), [404, "account_not_found"]);
    }
    const own = await app.request("/v1/accounts/us-1/events", {
      method: "POST",
      body: '{"data":1}',
      headers: { "content-type": "application/json", ...headers },
    });
    assert.equal(own.status, 404);
    assert.equal((await db.query("select from inturn.events where account_id like '%-%'")).length, 2);
  }),
);

test(
  "a key with a share gets 429 beyond it, with the header fields of the draft, and goes on in the next second",
  withDatabase(async (db) => {
    const { key } = await makeKey(db, { eventsPerSecond: 3 });
    const app = createTestApp(db.database);
    const batch = (n: number) => Array.from({ length: n }, () => EVENT);
    const first = await send(app, batch(2), bearer(key));
    assert.deepEqual(
      [first.status, first.headers.get("ratelimit-policy"), first.headers.get("ratelimit")],
      [202, '"events";q=3;w=1', '"events";r=1;t=1'],
    );
    const over = await send(app, batch(2), bearer(key));
    assert.deepEqual(
      [over.status, over.headers.get("retry-after"), over.headers.get("ratelimit")],
      [429, "1", '"events";r=0;t=1'],
    );
    assert.deepEqual(await codeOf(await send(app, batch(4), bearer(key))), [429, "rate_exceeded"]);
    await until("the next second", async () => (await send(app, batch(1), bearer(key))).status === 202);
    assert.equal((await db.query("select from inturn.events")).length, 3);
  }),
);

test(
  "a signed webhook is stored as it came: its account by pointer, its id by header; any other signature is 401",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    const [secret, older, stranger] = [createWebhookSecret(), createWebhookSecret(), createWebhookSecret()] as const;
    await insertSource(db.database, { name: "shop", secret: older, accountPointer: "/data/customer" });
    await db.query("update inturn.sources set secrets = array[$1, secrets[1]]", [secret]);
    await makeKey(db);
    const body = '{"type":"order.paid", "timestamp":"2026-01-01T00:00:00Z","data":{"customer": 42,"sum":1.0}}';
    const sign = (by: string, id: string, at = new Date(), text = body) => ({
      "webhook-id": id,
      "webhook-timestamp": String(Math.floor(at.getTime() / 1_000)),
      "webhook-signature": new Webhook(by).sign(id, at, text),
      "content-type": "application/json",
    });
    const receive = async (headers: Record<string, string>, text = body, name = "shop") =>
      await app.request(`/v1/sources/${name}`, { method: "POST", body: text, headers });
    assert.deepEqual(await (await receive(sign(secret, "m1"))).json(), { accountId: "42", seq: 1, duplicate: false });
    assert.deepEqual(await (await receive(sign(older, "m1"))).json(), { accountId: "42", seq: 1, duplicate: true });
    const two = sign(secret, "m2");
    two["webhook-signature"] = `v1,AAAA ${two["webhook-signature"]}`;
    assert.equal((await receive(two)).status, 202);
    const minutes = (n: number) => new Date(Date.now() + n * 60_000);
    const refused = [
      await receive({ "content-type": "application/json" }),
      await receive(sign(stranger, "m3")),
      await receive(sign(secret, "m3", minutes(-6))),
      await receive(sign(secret, "m3", minutes(6))),
      await receive(sign(secret, "m3"), JSON.stringify(JSON.parse(body))),
      await receive({ ...sign(secret, "m3"), "webhook-id": "m4" }),
      await receive(sign(secret, "m3"), body, "unknown"),
    ];
    const answers = await Promise.all(
      refused.map(async (response) => {
        const { requestId: _, ...answer } = (await response.json()) as Record<string, unknown>;
        return JSON.stringify(answer);
      }),
    );
    assert.equal(new Set(answers).size, 1);
    assert.equal((JSON.parse(answers[0] ?? "") as { code: string }).code, "signature_invalid");
    const nameless = '{"type":"x","data":{}}';
    assert.equal((await receive(sign(secret, "m5", new Date(), nameless), nameless)).status, 422);
    const rows = await db.query(
      "select account_id, seq, event_id, type, data::text, metadata, occurred_at = '2026-01-01T00:00:00Z' as timed from inturn.events order by seq limit 1",
    );
    assert.deepEqual(rows, [
      {
        account_id: "42",
        seq: 1,
        event_id: "m1",
        type: "order.paid",
        data: body,
        metadata: { source: "shop" },
        timed: true,
      },
    ]);
  }),
);

test("without the database only keys of the environment are told from wrong ones", async () => {
  const database = openDatabase({
    url: "postgres://x@127.0.0.1:1/x",
    name: "test",
    connectionsMax: 1,
    onError: () => undefined,
  });
  const good = "k".repeat(32);
  const codes = async (environmentKeys: string[]) => {
    const app = createTestApp(database, { access: createAccess({ database, environmentKeys }) });
    return [
      (await codeOf(await app.request("/v1/accounts")))[1],
      (await codeOf(await app.request("/v1/accounts", { headers: bearer("x".repeat(32)) })))[1],
      (await codeOf(await app.request("/v1/accounts", { headers: bearer(good) })))[1],
      (await codeOf(await app.request("/v1/accounts/a/pause?", { method: "POST", headers: bearer(good) })))[1],
    ];
  };
  const away = "database_unavailable";
  assert.deepEqual(await codes([]), [away, away, away, away]);
  assert.deepEqual(await codes([good]), ["key_missing", away, away, away]);
  await database.end();
});

test(
  "a database that hangs holds up nobody at the guard: what was known is known for a while",
  withDatabase(async (db) => {
    const { key } = await makeKey(db);
    const hanging = new Promise<never>(() => undefined);
    let hangs = false;
    const query = async (...args: Parameters<typeof db.database.query>) =>
      await (hangs ? hanging : (db.database.query(...args) as unknown as Promise<unknown>));
    const access = createAccess({ database: { query } as unknown as typeof db.database, environmentKeys: [] });
    assert.equal((await access()).callerOf(key)?.name, "test key");
    hangs = true;
    let waited = false;
    await until("the book is old, and is used all the same", async () => {
      const book = access();
      waited ||= book instanceof Promise;
      assert.equal((await book).callerOf(key)?.name, "test key");
      return waited && !(access() instanceof Promise);
    });
    assert.ok(waited);
  }),
);

test(
  "a key of the environment may do everything; two Authorization headers are none; nothing of it is logged",
  withDatabase(async (db) => {
    const key = "secret-of-the-environment-32-characters";
    const server = startProcess(["serve", "--port", "0", "--host", "0.0.0.0"], {
      DATABASE_URL: db.url,
      INTURN_API_KEYS: `${"o".repeat(40)}, ${key}`,
      LOG_LEVEL: "trace",
    });
    const { url = "" } = await server.ready;
    const { port } = new URL(url);
    const raw = async (...headers: string[]) =>
      await new Promise<string>((resolve, reject) => {
        let answer = "";
        const head = ["GET /v1/accounts HTTP/1.1", "Host: x", "Connection: close", ...headers].join("\r\n");
        const socket = connect(Number(port), "127.0.0.1", () => socket.write(`${head}\r\n\r\n`));
        socket.setEncoding("utf8").on("data", (part: string) => (answer += part));
        socket.on("error", reject).on("close", () => resolve(answer.slice(9, 12)));
      });
    assert.equal(await raw(`Authorization: Bearer ${key}`), "200");
    const load = ["load", "--url", url.replace("0.0.0.0", "127.0.0.1"), "--events", "10", "--accounts", "2"];
    assert.equal((await runProcess([...load, "--api-key", key])).code, 0);
    assert.match((await runProcess(load)).stderr, /401.*key_missing/);
    assert.equal(await raw(`Authorization: Bearer ${key}`, `Authorization: Bearer ${key}`), "401");
    assert.equal(await raw(`Authorization: Bearer ${key}x`), "401");
    assert.equal(await raw(), "401");
    assert.equal(await server.stop(), 0);
    assert.doesNotMatch(server.output.stderr + server.output.stdout, /secret-of-the-environment/);
    const short = await runProcess(["serve"], { DATABASE_URL: db.url, INTURN_API_KEYS: "too-short-to-be-secret" });
    assert.equal(short.code, 2);
    assert.doesNotMatch(short.stderr, /too-short-to-be-secret/);
  }),
);

test(
  "where others can reach it the server does not start without a key; a public name does not lead to an open one",
  withDatabase(async (db) => {
    const log = createLog({ level: "silent", name: "test" });
    const settings = { ...readSettings({}), host: "0.0.0.0", port: 0 };
    await assert.rejects(startApi({ settings, databaseUrl: db.url, log }), { code: "keys_needed" });
    const app = createTestApp(db.database);
    for (const [address, status] of [
      ["http://localhost:8000", 200],
      ["http://127.0.0.1:8000", 200],
      ["http://[::1]:8000", 200],
      ["http://inturn:8000", 200],
      ["http://evil.example:8000", 421],
      ["http://127.0.0.1.evil.example", 421],
    ] as const) {
      assert.equal((await app.request(`${address}/v1/accounts`)).status, status, address);
    }
    const { key } = await makeKey(db);
    const api = await startApi({ settings, databaseUrl: db.url, log });
    const headers = bearer(key);
    assert.equal((await fetch(`http://127.0.0.1:${new URL(api.url).port}/v1/accounts`, { headers })).status, 200);
    await api.close();
  }),
);

test(
  "the commands make, list and revoke keys and sources; a key is shown once and never kept",
  withDatabase(async (db) => {
    const run = async (...args: string[]) => await runProcess(args, { DATABASE_URL: db.url });
    const made = await run(
      "keys",
      "create",
      "--name",
      "ci",
      "--scope",
      "ingest,read",
      "--account-prefix",
      "eu-",
      "--json",
    );
    const { id, key } = JSON.parse(made.stdout) as { id: string; key: string };
    assert.match(key, new RegExp(`^itn_${id}_[0-9a-f]{64}$`));
    const listed = await run("keys", "list", "--json");
    const [{ createdAt: _, ...row }] = JSON.parse(listed.stdout) as [{ createdAt: string }];
    assert.deepEqual(row, {
      id,
      name: "ci",
      scopes: ["ingest", "read"],
      accountPrefix: "eu-",
      eventsPerSecond: null,
      revokedAt: null,
    });
    assert.equal(
      (await db.query("select from inturn.api_keys as k where k::text like '%' || $1 || '%'", [key])).length,
      0,
    );
    assert.equal((await run("keys", "revoke", id)).code, 0);
    assert.match((await run("keys", "revoke", id)).stderr, /key_not_found/);
    assert.equal((await run("keys", "create", "--name", "x", "--scope", "all")).code, 2);
    const secret = (await run("sources", "create", "shop", "--account", "/data/customer")).stdout.trim();
    assert.match(secret, /^whsec_/);
    assert.match((await run("sources", "create", "shop", "--account", "/x")).stderr, /source_exists/);
    const newer = (await run("sources", "rotate", "shop")).stdout.trim();
    assert.deepEqual(await db.query("select secrets from inturn.sources"), [{ secrets: [newer, secret] }]);
    assert.match((await run("sources", "list")).stdout, /shop\s+standard\s+\/data\/customer/);
    assert.equal((await run("sources", "remove", "shop")).code, 0);
  }),
);

const WHOLE_BYTES = 8_388_608;

/** Connections from one address that announce large bodies and send some bytes of each. */
function lie(
  url: string,
  path: string,
  headers: Record<string, string>,
  many: { connections: number; bytes: number },
): () => void {
  const lines = Object.entries({ host: "x", "content-type": "application/json", ...headers });
  const head = `POST ${path} HTTP/1.1\r\ncontent-length: ${WHOLE_BYTES}\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
  const sockets = Array.from({ length: many.connections }, () => connect(Number(new URL(url).port), "127.0.0.1"));
  for (const socket of sockets) socket.on("error", () => undefined).write(head + "x".repeat(many.bytes));
  return () => sockets.forEach((socket) => socket.destroy());
}

/** The status of a POST from this address of our machine. */
async function postFrom(localAddress: string, url: string, headers: Record<string, string>, body: string) {
  return await new Promise<number | undefined>((resolve, reject) => {
    const sending = request(url, {
      method: "POST",
      agent: false,
      localAddress,
      headers: { "content-type": "application/json", ...headers },
    });
    sending.on("response", (response) => resolve(response.resume().statusCode)).on("error", reject);
    sending.end(body);
  });
}

function signed(secret: string, id: string, body: string): Record<string, string> {
  const at = new Date();
  const seconds = String(Math.floor(at.getTime() / 1_000));
  const signature = new Webhook(secret).sign(id, at, body);
  return { "webhook-id": id, "webhook-timestamp": seconds, "webhook-signature": signature };
}

test(
  "who announces large bodies and does not send them, or holds them back, closes the ingest to nobody else",
  withDatabase(async (db) => {
    const [first, second] = [await makeKey(db), await makeKey(db)];
    const secret = createWebhookSecret();
    await insertSource(db.database, { name: "shop", accountPointer: "/account", secret });
    const server = startProcess(["serve", "--port", "0"], { DATABASE_URL: db.url });
    const { url = "" } = await server.ready;
    const body = JSON.stringify({ account: "a" });
    const whole = "x".repeat(WHOLE_BYTES);
    const webhook = async (address: string, id: string) =>
      await postFrom(address, `${url}/v1/sources/shop`, signed(secret, id, body), body);
    const unsigned = { ...signed(secret, "0", body), "webhook-signature": "v1,AAAA" };

    const idle = lie(url, "/v1/sources/shop", unsigned, { connections: 64, bytes: 0 });
    for (let i = 0; i < 20; i++) {
      const startedMs = performance.now();
      assert.equal(await webhook("127.0.0.1", `idle-${i}`), 202);
      assert.ok(performance.now() - startedMs < 1_000);
    }
    idle();

    // Of one address no more is taken than its share; others do not notice.
    const unfinished: (() => void)[] = [];
    await until("one address has its share", async () => {
      // One after the other: while the idle ones still hold something, one that comes too early is refused.
      unfinished.push(lie(url, "/v1/sources/shop", unsigned, { connections: 1, bytes: 5_000_000 }));
      return (await postFrom("127.0.0.1", `${url}/v1/sources/shop`, unsigned, whole).catch(() => undefined)) === 503;
    });
    assert.equal(await webhook("127.0.0.2", "from elsewhere"), 202);
    assert.equal(await postFrom("127.0.0.1", `${url}/v1/events`, bearer(first.key), JSON.stringify(EVENT)), 202);
    for (const end of unfinished) end();

    const keyed = lie(url, "/v1/events", bearer(first.key), { connections: 12, bytes: 5_000_000 });
    await until("one key has its share", async () => {
      return (await postFrom("127.0.0.1", `${url}/v1/events`, bearer(first.key), whole).catch(() => undefined)) === 503;
    });
    assert.equal(await postFrom("127.0.0.1", `${url}/v1/events`, bearer(second.key), JSON.stringify(EVENT)), 202);
    assert.equal(await webhook("127.0.0.1", "beside a key"), 202);
    keyed();
    assert.equal(await server.stop(), 0);
  }),
);

test("whatever is taken and given back of a budget, no sender and not all together have more than they may", () => {
  const step = fc.record({
    sender: fc.constantFrom("a", "b", "c", "d", "e", "f"),
    bytes: fc.integer({ min: 0, max: 40 }),
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(step, fc.boolean()), { maxLength: 80 }), (steps) => {
      const budget = new BodyBudget({ bodyBytesMax: 30, bytesMax: 100 });
      const held: { sender: string; bytes: number }[] = [];
      const sum = (sender?: string) =>
        held.filter((one) => sender === undefined || one.sender === sender).reduce((all, { bytes }) => all + bytes, 0);
      for (const [{ sender, bytes }, gives] of steps) {
        const oldest = gives ? held.shift() : undefined;
        if (oldest !== undefined) budget.of(oldest.sender).give(oldest.bytes);
        const fits = sum() + bytes <= 100 && sum(sender) + bytes <= 30;
        if (fits) {
          budget.of(sender).take(bytes);
          held.push({ sender, bytes });
        } else assert.throws(() => budget.of(sender).take(bytes), { code: "overloaded" });
      }
      for (const { sender, bytes } of held) budget.of(sender).give(bytes);
      for (const sender of ["a", "b", "c"]) budget.of(sender).take(30);
    }),
  );
});

test("a sender without a key is known by its IPv4 address, or by the network of its IPv6 address", () => {
  const of = (remoteAddress: string) => networkOf({ env: { incoming: { socket: { remoteAddress } } } } as never);
  assert.equal(of("192.0.2.7"), "192.0.2.7");
  assert.equal(of("::ffff:192.0.2.7"), "192.0.2.7");
  assert.equal(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2");
  assert.equal(of("2001:db8:1:2::6"), "2001:db8:1:2");
  assert.equal(of("2001:db8::6"), "2001:db8:0:0");
  assert.equal(of("::1"), "0:0:0:0");
  assert.equal(of("fe80::1%eth0"), "fe80:0:0:0");
});

test(
  "a page of another site cannot use the key that a browser remembers, also where browsers tell only its origin",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    await send(app, EVENT);
    const { key } = await makeKey(db);
    await until("the key is known", async () => (await send(app, EVENT)).status === 401);
    const authorization = `Basic ${Buffer.from(`user:${key}`).toString("base64")}`;
    const operate = async (headers: Record<string, string>) =>
      await codeOf(
        await app.request("http://inturn:8000/v1/accounts/a/pause", {
          method: "POST",
          headers: { authorization, ...headers },
        }),
      );
    for (const origin of ["http://evil.example", "http://inturn:9000", "null"]) {
      assert.deepEqual(await operate({ origin }), [403, "origin_refused"], origin);
    }
    assert.deepEqual(await db.query("select from inturn.operator_log"), []);
    assert.equal((await operate({ origin: "http://inturn:8000" }))[0], 200);
    // A proxy that speaks TLS may ask for us under another name: there browsers say the site.
    assert.equal((await operate({ origin: "https://inturn.example", "sec-fetch-site": "same-origin" }))[0], 200);
  }),
);

test(
  "a stream of lines is taken up to the key's share, however its lines fall into pieces",
  withDatabase(async (db) => {
    const { key } = await makeKey(db, { eventsPerSecond: 5 });
    const app = createTestApp(db.database);
    const response = await app.request("/v1/events", {
      method: "POST",
      body: `${JSON.stringify(EVENT)}\n`.repeat(8),
      headers: { "content-type": "application/x-ndjson", ...bearer(key) },
    });
    const lines = (await response.text()).trim().split("\n");
    const answers = lines.map((line) => JSON.parse(line) as { line: number; seq?: number; code?: string });
    assert.deepEqual(
      answers.map(({ line, seq, code }) => [line, seq ?? code]),
      [
        [1, 1],
        [2, 2],
        [3, 3],
        [4, 4],
        [5, 5],
        [6, "rate_exceeded"],
      ],
    );
    assert.equal((await db.query("select from inturn.events")).length, 5);
  }),
);

test(
  "the key's name is recorded, however long a name its holder gives",
  withDatabase(async (db) => {
    const { key } = await makeKey(db);
    const app = createTestApp(db.database);
    const headers = { "content-type": "application/json", ...bearer(key) };
    await send(app, EVENT, headers);
    const body = JSON.stringify({ who: "x".repeat(200) });
    assert.equal((await app.request("/v1/accounts/a/pause", { method: "POST", body, headers })).status, 200);
    assert.deepEqual(await db.query("select who from inturn.operator_log"), [{ who: `${"x".repeat(189)} (test key)` }]);
  }),
);

test(
  "an empty prefix or name makes no key",
  withDatabase(async (db) => {
    for (const flags of [
      ["--name", "x", "--account-prefix", ""],
      ["--name", ""],
      ["--name", "a\u001b[31m"],
    ]) {
      const { code, stderr } = await runProcess(["keys", "create", ...flags], { DATABASE_URL: db.url });
      assert.equal(code, 2, flags.join(" "));
      assert.match(stderr, /It takes 1 to \d+ characters/);
    }
    assert.deepEqual(await db.query("select from inturn.api_keys"), []);
  }),
);

test(
  "who comes through a proxy is no neighbour: without a key they are refused",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    for (const name of ["forwarded", "x-forwarded-for", "x-real-ip", "via"]) {
      const response = await app.request("/v1/accounts", { headers: { [name]: "203.0.113.7" } });
      assert.deepEqual(await codeOf(response), [421, "host_refused"], name);
    }
    const { key } = await makeKey(db);
    const headers = { ...bearer(key), "x-forwarded-for": "203.0.113.7" };
    await until("the key is known", async () => (await app.request("/v1/accounts", { headers })).status === 200);
  }),
);

test("a server whose database takes connections but says nothing waits for it, and does not end", async () => {
  const silent = createServer((socket) => socket.on("error", () => undefined));
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { port } = silent.address() as AddressInfo;
  const server = startProcess(["serve", "--port", "0"], { DATABASE_URL: `postgres://x@127.0.0.1:${port}/x` });
  try {
    await until("it has given up once", () => /trying again in/.test(server.output.stderr));
    assert.equal((await fetch(`${(await server.ready).url}/livez`)).status, 200);
    assert.equal(await server.stop(), 0);
  } finally {
    server.child.kill("SIGKILL");
    silent.close();
  }
});
