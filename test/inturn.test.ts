/** Inturn inside of a program. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { Hono } from "hono";
import pg from "pg";
import { BatchError, createInturn, type HandlerEvent, type Inturn } from "../src/index.ts";
import { startTestInturn } from "../src/testing/index.ts";
import { withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";

const serverUrl = process.env["TEST_DATABASE_URL"] ?? "";

/** Stops them whatever happens: what runs on would keep the process. */
async function using(inturns: Inturn[], work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } finally {
    await Promise.all(inturns.map(async (inturn) => await inturn.stop()));
  }
}

test(
  "two in one process: each handles its own events in order; no environment is read, no signal taken",
  withDatabase(async (one) => {
    await withDatabase(async (two) => {
      process.env["INTURN_NONSENSE"] = "1";
      process.env["INTURN_CONCURRENCY"] = "many";
      // The log writes what is left when the process exits.
      const names = ["SIGINT", "SIGTERM", "SIGHUP", "uncaughtException", "unhandledRejection"];
      const before = names.map((name) => process.listenerCount(name));
      const seen: Record<string, string[]> = { one: [], two: [] };
      const inturns = [one, two].map(({ url: databaseUrl }, i) =>
        createInturn({
          databaseUrl,
          logLevel: "silent",
          backoffMs: 1,
          eventTypes: { "never.*": { attemptsMax: 1 } },
          handler: async ({ accountId, seq }) => void seen[i === 0 ? "one" : "two"]?.push(`${accountId}/${seq}`),
        }),
      );
      await using(inturns, async () => {
        const [first, second] = inturns;
        await first?.migrate();
        await Promise.all(inturns.map(async (inturn) => await inturn.startWorker()));
        await Promise.all(inturns.map(async (inturn) => await inturn.startWorker()));
        const events = Array.from({ length: 40 }, (_, i) => ({ accountId: `a${i % 2}`, data: i }));
        const appended = await first?.append(events);
        assert.deepEqual(appended?.slice(0, 3), [
          { accountId: "a0", seq: 1, duplicate: false },
          { accountId: "a1", seq: 1, duplicate: false },
          { accountId: "a0", seq: 2, duplicate: false },
        ]);
        await second?.append([{ accountId: "b", type: "x", id: "1", data: null }]);
        await until("all are handled", () => seen["one"]?.length === 40 && seen["two"]?.length === 1);
        const ofA0 = seen["one"]?.filter((name) => name.startsWith("a0/"));
        assert.deepEqual(
          ofA0,
          Array.from({ length: 20 }, (_, i) => `a0/${i + 1}`),
        );
        assert.deepEqual(seen["two"], ["b/1"]);
        await until("it says so", async () => (await first?.status())?.settled === 40);
        assert.equal((await second?.status())?.workers.length, 1);
        assert.deepEqual(
          names.map((name) => process.listenerCount(name)),
          before,
        );
      });
      delete process.env["INTURN_NONSENSE"];
      delete process.env["INTURN_CONCURRENCY"];
      await assert.rejects(async () => await inturns[0]?.append([{ accountId: "a", data: 1 }]), { code: "stopped" });
      assert.equal((await one.query("select from inturn.workers")).length, 0);
    })();
  }),
);

test(
  "a pool gives its address and its password, and keeps its connections; events go into its transactions",
  withDatabase(async ({ url }) => {
    const { hostname, port, username, password, pathname } = new URL(url);
    let asked = 0;
    const pool = new pg.Pool({
      host: hostname,
      port: Number(port),
      user: username,
      database: pathname.slice(1),
      password: async () => ((asked += 1), password),
      max: 1,
    });
    const seen: HandlerEvent[] = [];
    const inturn = createInturn({ pool, logLevel: "silent", handler: (event) => void seen.push(event) });
    try {
      await using([inturn], async () => {
        await inturn.migrate();
        await inturn.startWorker();
        const client = await pool.connect();
        await client.query("begin");
        await inturn.append([{ accountId: "a", type: "kept", data: { n: 1.5 } }], { transaction: client });
        await client.query("savepoint s");
        await inturn.append([{ accountId: "a", type: "dropped", data: 2 }], { transaction: client });
        await client.query("rollback to savepoint s");
        await client.query("commit");
        client.release();
        await until("it is handled", () => seen.length === 1);
        assert.equal(seen[0]?.type, "kept");
        assert.ok(asked > 3, `the password was asked for ${asked} times`);
      });
      assert.equal((await pool.query("select count(*)::int as n from inturn.events")).rows[0]?.n, 1);
      assert.equal((await pool.query("show datestyle")).rows[0]?.DateStyle, "ISO, MDY");
    } finally {
      await pool.end();
    }
  }),
);

test("what createInturn cannot use is refused with its name", async () => {
  const databaseUrl = "postgres://127.0.0.1:1/x";
  const refused = (options: object, code: string, message: RegExp) =>
    assert.throws(() => createInturn(options), { code, message });
  refused({}, "settings_invalid", /databaseUrl or a pool/);
  refused({ databaseUrl, pool: { options: {} } }, "settings_invalid", /only one of them/);
  refused({ databaseUrl: "mysql://x" }, "settings_invalid", /databaseUrl: must start with postgres/);
  refused({ databaseUrl, concurrency: 0, leaseMs: "x" }, "settings_invalid", /concurrency: .*\n.*leaseMs: /);
  refused({ databaseUrl, hander: 1 }, "settings_invalid", /hander: there is no such setting; did you mean handler\?/);
  refused({ databaseUrl, port: 80 }, "settings_invalid", /port: .*does not listen/);
  refused({ databaseUrl, apiKeys: ["short"] }, "settings_invalid", /apiKeys: each key needs 32/);
  refused({ databaseUrl, handler: "./handler.mjs" }, "handler_invalid", /is a function; this is string/);
  const batch = { handler: () => 1, eventsMax: 10 };
  refused({ databaseUrl, handler: () => 1, batch }, "settings_invalid", /a handler or a batch, not both/);
  refused(
    { databaseUrl, batch: { ...batch, eventsMax: 5_000 } },
    "handler_invalid",
    /batch of createInturn.*eventsMax/s,
  );
  refused(
    { databaseUrl, handler: () => 1, eventTypes: { x: { attempts: 1 } } },
    "handler_invalid",
    /eventTypes of createInturn/,
  );
  const inturn = createInturn({ databaseUrl, logLevel: "silent" });
  await assert.rejects(inturn.startWorker(), { code: "handler_missing" });
  await assert.rejects(inturn.append([{ accountId: "", data: 1 }]), { code: "event_invalid" });
  await assert.rejects(inturn.append([{ accountId: "a", data: 1 }]), { code: "database_unavailable" });
  await assert.rejects(inturn.migrate(), { code: "database_unavailable" });
  await inturn.stop();
});

test("a worker waits for a database that is away, and stopping ends the wait", async () => {
  const inturn = createInturn({
    databaseUrl: "postgres://127.0.0.1:1/x",
    logLevel: "silent",
    handler: () => undefined,
  });
  const starting = assert.rejects(inturn.startWorker(), { code: "stopped" });
  await new Promise((resolve) => setImmediate(resolve));
  await inturn.stop();
  await starting;
});

test(
  "the app is mounted under a path, in hono and in a server of Node's; it wants keys unless told",
  withDatabase(async ({ url: databaseUrl }) => {
    const key = "k".repeat(32);
    const globals = [Request, Response];
    const guarded = createInturn({ databaseUrl, logLevel: "silent", basePath: "/inturn", apiKeys: [key] });
    const open = createInturn({ databaseUrl, logLevel: "silent", basePath: "/inturn", requireKeys: false });
    await using([guarded, open], async () => {
      const post = {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"accountId":"a","data":1}',
      };
      const withKey = { ...post, headers: { ...post.headers, authorization: `Bearer ${key}` } };
      const hono = new Hono().mount("/inturn", guarded.app.fetch).get("/", (c) => c.text("mine"));
      assert.equal(await (await hono.request("http://app.example/")).text(), "mine");
      assert.equal((await hono.request("http://app.example/inturn/v1/events", post)).status, 401);
      assert.equal((await hono.request("http://app.example/inturn/v1/events", withKey)).status, 202);
      assert.equal((await open.app.fetch(new Request("http://app.example/inturn/v1/events", post))).status, 202);
      const page = await (await open.app.fetch(new Request("http://app.example/inturn/accounts"))).text();
      assert.match(page, /href="\/inturn\/accounts\/a"/);

      const server = createServer((request, response) => {
        // As express does it: what is mounted sees the rest of the path.
        request.url = request.url?.replace(/^\/inturn/, "") ?? "/";
        void open.listener(request, response);
      }).listen(0, "127.0.0.1");
      try {
        await until("it listens", () => server.listening);
        const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/inturn`;
        const answer = await fetch(`${address}/v1/events`, post);
        assert.deepEqual(await answer.json(), { accountId: "a", seq: 3, duplicate: false });
        assert.deepEqual([Request, Response], globals);
        const metrics = await (await fetch(`${address}/metrics`)).text();
        assert.match(metrics, /inturn_events_accepted_total\{duplicate="false"\} 2/);
      } finally {
        server.closeAllConnections();
        server.close();
      }
    });
  }),
);

test("a handler is tested without sleeping: settled() waits, and tells what a handler threw", async () => {
  const seen: number[] = [];
  const inturn = await startTestInturn({
    serverUrl,
    logLevel: "silent",
    backoffMs: 1,
    attemptsMax: 2,
    batch: {
      eventsMax: 10,
      handler: (events, { attempt }) => {
        for (const [i, { data, seq }] of events.entries()) {
          if (data === "twice" && (attempt === 1 || i > 0)) throw new BatchError(i, new Error("once"));
          if (data === "never") throw new BatchError(i, new Error("the till is empty"));
          seen.push(seq);
        }
      },
    },
  });
  await using([inturn], async () => {
    await inturn.settled();
    await inturn.append([1, "twice", 3].map((data) => ({ accountId: "a", data })));
    await inturn.settled();
    assert.deepEqual(seen, [1, 2, 3]);
    await inturn.append(["never", 5].map((data) => ({ accountId: "a", data })));
    await assert.rejects(inturn.settled(), {
      code: "events_unsettled",
      message: /a\/4: blocked, 2 attempts failed: Error: the till is empty/,
    });
    await inturn.settled({ allowBlocked: true });
    await inturn.operate({ verb: "skip", accountId: "a", why: "a test" });
    await inturn.settled();
    assert.deepEqual(seen, [1, 2, 3, 5]);
    await assert.rejects(inturn.operate({ verb: "skip", accountId: "a" }), { code: "account_idle" });
    await inturn.operate({ verb: "pause", accountId: "a" });
    await inturn.append([
      { accountId: "a", data: 6 },
      { accountId: "b", data: 7 },
    ]);
    await inturn.settled();
    assert.deepEqual(seen, [1, 2, 3, 5, 1]);
  });
  const admin = new pg.Client(serverUrl);
  await admin.connect();
  const { rows } = await admin.query("select from pg_database where datname = $1", [
    new URL(inturn.databaseUrl).pathname.slice(1),
  ]);
  assert.equal(rows.length, 0);
  await admin.end();
});
