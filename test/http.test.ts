import assert from "node:assert/strict";
import { request } from "node:http";
import { connect } from "node:net";
import { test } from "node:test";
import { readSettings } from "../src/config/settings.ts";
import { openDatabase } from "../src/db/pool.ts";
import { createLog } from "../src/log/log.ts";
import { startApi } from "../src/service/api.ts";
import { listen } from "../src/service/listen.ts";
import { createTestApp } from "./support/app.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";

const log = createLog({ level: "silent", name: "test" });

type App = ReturnType<typeof createTestApp>;

function withApp(body: (app: App, db: TestDatabase) => Promise<void>): () => Promise<void> {
  return withDatabase(async (db) => {
    await body(createTestApp(db.database), db);
  });
}

async function post(app: App, body: string | Buffer, headers: Record<string, string> = {}): Promise<Response> {
  return await app.request("/v1/events", {
    method: "POST",
    body,
    headers: { "content-type": "application/json", ...headers },
  });
}

/** Status, code, and where the faults are. */
async function problemOf(response: Response): Promise<[number, string, string[]]> {
  assert.equal(response.headers.get("content-type"), "application/problem+json");
  const problem = (await response.json()) as {
    status: number;
    code: string;
    requestId: string;
    errors?: { pointer: string }[];
  };
  assert.equal(problem.status, response.status);
  assert.match(problem.requestId, /^[0-9a-f-]{36}$/);
  return [response.status, problem.code, (problem.errors ?? []).map((error) => error.pointer)];
}

test(
  "one event is answered with its place, an array with the places in its order",
  withApp(async (app) => {
    const one = await post(
      app,
      JSON.stringify({ accountId: "a", data: { n: 1 }, type: "t", id: "i", time: "2026-01-01T00:00:00Z" }),
    );
    assert.equal(one.status, 202);
    assert.deepEqual(await one.json(), { accountId: "a", seq: 1, duplicate: false });
    const many = await post(
      app,
      JSON.stringify([
        { accountId: "b", data: 1 },
        { accountId: "a", data: null },
        { accountId: "a", data: { n: 1 }, type: "t", id: "i", time: "2026-01-01T00:00:00Z" },
      ]),
    );
    assert.deepEqual(await many.json(), {
      events: [
        { accountId: "b", seq: 1, duplicate: false },
        { accountId: "a", seq: 2, duplicate: false },
        { accountId: "a", seq: 1, duplicate: true },
      ],
    });
  }),
);

test(
  "a fault is a 4xx that names the field, and nothing of its batch is stored",
  withApp(async (app, db) => {
    const good = { accountId: "a", data: 1 };
    const long = "x".repeat(251);
    const cases: [body: unknown, pointers: string[]][] = [
      [{}, ["/accountId", "/data"]],
      [null, [""]],
      [5, [""]],
      [[], [""]],
      [{ accountId: "a" }, ["/data"]],
      [{ ...good, accountId: 7 }, ["/accountId"]],
      [{ ...good, accountId: { $gt: "" } }, ["/accountId"]],
      [{ ...good, accountId: "" }, ["/accountId"]],
      [{ ...good, accountId: long }, ["/accountId"]],
      [{ ...good, accountId: "a\nb" }, ["/accountId"]],
      [{ ...good, id: long }, ["/id"]],
      [{ ...good, seq: 5 }, ["/seq"]],
      [{ ...good, state: "idle" }, ["/state"]],
      [{ ...good, time: "infinity" }, ["/time"]],
      [{ ...good, time: "2026-01-01T00:00:00" }, ["/time"]],
      [[good, { ...good, type: 3 }, good], ["/1/type"]],
      [{ ...good, data: { "a/b": ["\0"] } }, ["/data/a~1b/0"]],
      [{ ...good, data: "\ud800" }, ["/data"]],
      [{ ...good, data: { "\0": 1 } }, ["/data/\0"]],
    ];
    for (const [body, pointers] of cases) {
      assert.deepEqual(
        await problemOf(await post(app, JSON.stringify(body))),
        [422, "event_invalid", pointers],
        JSON.stringify(body),
      );
    }
    const deep = `{"accountId":"a","data":${"[".repeat(200)}${"]".repeat(200)}}`;
    assert.equal((await problemOf(await post(app, deep)))[0], 422);
    const deepWithNumbers = deep.replace('"a"', '"a1e5"').replaceAll("[".repeat(200), "[".repeat(300_000));
    assert.equal(
      (await problemOf(await post(app, deepWithNumbers.replaceAll("]".repeat(200), "]".repeat(300_000)))))[0],
      422,
    );
    const tooMany = JSON.stringify(Array.from({ length: 2_001 }, () => good));
    assert.equal((await problemOf(await post(app, tooMany)))[0], 422);
    assert.deepEqual(await db.query("select * from inturn.event_results"), []);
  }),
);

test(
  "a body that is no JSON, no UTF-8, of another type or too large is refused as what it is",
  withApp(async (app) => {
    const ok = '{"accountId":"a","data":1}';
    assert.deepEqual(await problemOf(await post(app, "")), [400, "body_missing", []]);
    for (const text of ["{", '{"a":1,}', "// no", "NaN", `${ok}${ok}`, "[".repeat(100_000)]) {
      assert.deepEqual(await problemOf(await post(app, text)), [400, "json_malformed", []], text.slice(0, 20));
    }
    assert.deepEqual(await problemOf(await post(app, Buffer.from([0x22, 0xff, 0x22]))), [400, "json_malformed", []]);
    for (const type of ["text/plain", "application/json; charset=utf-16", "multipart/form-data", ""]) {
      assert.deepEqual(await problemOf(await post(app, ok, { "content-type": type })), [
        415,
        "media_type_unsupported",
        [],
      ]);
    }
    assert.deepEqual(await problemOf(await post(app, ok, { "content-encoding": "gzip" })), [
      415,
      "media_type_unsupported",
      [],
    ]);
    const large = JSON.stringify({ accountId: "a", data: "x".repeat(9 * 1024 * 1024) });
    assert.deepEqual(await problemOf(await post(app, large)), [413, "body_too_large", []]);
    assert.deepEqual(await problemOf(await post(app, large, { "content-length": String(large.length) })), [
      413,
      "body_too_large",
      [],
    ]);
    assert.equal((await post(app, ok, { "content-type": "application/json; charset=UTF-8" })).status, 202);
  }),
);

test(
  "accounts and events are read in pages; unknown accounts and broken queries are told apart",
  withApp(async (app) => {
    const ids = ["__proto__", "a/b", "drop table accounts; --", "é", "😀"];
    await post(app, JSON.stringify([...ids, "a/b", "a/b"].map((accountId, n) => ({ accountId, data: n }))));
    const first = (await (await app.request("/v1/accounts?limit=3")).json()) as {
      accounts: { accountId: string; pending: number }[];
      next: string;
    };
    const rest = (await (await app.request(`/v1/accounts?cursor=${first.next}`)).json()) as typeof first;
    assert.deepEqual(
      [...first.accounts, ...rest.accounts].map((account) => account.accountId),
      ids,
    );
    assert.equal(rest.next, null);
    const account = (await (await app.request("/v1/accounts/a%2Fb")).json()) as { pending: number; state: string };
    assert.deepEqual([account.pending, account.state], [3, "scheduled"]);
    const events = (await (await app.request("/v1/accounts/a%2Fb/events?limit=2&after=1")).json()) as {
      events: { seq: number; data: number }[];
      next: unknown;
    };
    assert.deepEqual(
      events.events.map((event) => [event.seq, event.data]),
      [
        [2, 5],
        [3, 6],
      ],
    );
    assert.equal(events.next, null);
    for (const path of ["/v1/accounts/nobody", "/v1/accounts/nobody/events", `/v1/accounts/${"x".repeat(5_000)}`]) {
      assert.deepEqual(await problemOf(await app.request(path)), [404, "account_not_found", []]);
    }
    for (const query of ["limit=-1", "limit=1e9", "limit[]=1", "limit=0", "limit=1001", "color=red"]) {
      assert.equal((await problemOf(await app.request(`/v1/accounts?${query}`)))[1], "query_invalid", query);
    }
    for (const path of [
      "/v1/accounts/a/events?after=x",
      "/v1/accounts?after=%00",
      "/results?after=%00",
      "/results?after=%ff",
    ]) {
      assert.deepEqual((await problemOf(await app.request(path))).slice(0, 2), [400, "query_invalid"], path);
    }
  }),
);

test(
  "paths that spell nothing are 400, unknown ones 404, a wrong method 405 with Allow",
  withApp(async (app) => {
    for (const path of ["/v1/accounts/%00", "/v1/accounts/%ZZ", "/v1/accounts/%ff%fe"]) {
      assert.deepEqual(await problemOf(await app.request(path)), [400, "path_invalid", []], path);
    }
    assert.deepEqual(await problemOf(await app.request("/nothing/here")), [404, "route_not_found", []]);
    const wrong = await app.request("/v1/events", { method: "DELETE" });
    assert.equal(wrong.headers.get("allow"), "POST, GET, HEAD");
    assert.deepEqual(await problemOf(wrong), [405, "method_not_allowed", []]);
    assert.equal((await app.request("/v1/accounts", { method: "HEAD" })).status, 200);
  }),
);

test(
  "the results page shows accounts and events, and a script in an id or in data as text",
  withApp(async (app) => {
    assert.match(await (await app.request("/results")).text(), /No events yet/);
    const script = "<script>alert(1)</script>";
    await post(app, JSON.stringify({ accountId: script, type: script, data: { script } }));
    const list = await (await app.request("/results")).text();
    assert.match(list, /✓ in order/);
    const link = /href="(\/accounts\/[^"?]+)\?/.exec(list)?.[1] ?? "";
    const detail = await (await app.request(link)).text();
    for (const page of [list, detail]) {
      assert.doesNotMatch(page, /<script>/);
      assert.match(page, /&lt;script&gt;/);
    }
  }),
);

test(
  "an operator's verb over HTTP: carried out, recorded, refused with a code; its body may be left out",
  withApp(async (app, db) => {
    await post(app, JSON.stringify({ accountId: "a/b", data: 1 }));
    const operate = async (verb: string, body?: unknown) => {
      const json = { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
      return await app.request(`/v1/accounts/a%2Fb/${verb}`, { method: "POST", ...(body !== undefined && json) });
    };
    const paused = await operate("pause");
    assert.deepEqual(
      [paused.status, await paused.json()],
      [200, { accountId: "a/b", verb: "pause", state: "paused", seq: 1 }],
    );
    assert.equal((await operate("skip", { who: "kim", why: "known bug" })).status, 200);
    assert.equal((await operate("resume", {})).status, 200);
    assert.deepEqual(await problemOf(await operate("skip")), [409, "account_idle", []]);
    assert.deepEqual(await problemOf(await operate("redrive", { seq: 1 })), [409, "event_not_dead", []]);
    assert.deepEqual(await problemOf(await operate("replay", { seq: 2 })), [409, "event_not_settled", []]);
    assert.deepEqual(await problemOf(await operate("replay", { seq: 0, extra: 1 })), [
      422,
      "operation_invalid",
      ["/seq", "/"],
    ]);
    assert.deepEqual(await problemOf(await operate("skip", [])), [422, "operation_invalid", ["/"]]);
    assert.deepEqual(await problemOf(await app.request("/v1/accounts/nobody/retry", { method: "POST" })), [
      404,
      "account_not_found",
      [],
    ]);
    assert.equal((await app.request("/v1/accounts/a%2Fb/pause")).status, 405);
    const foreign = { method: "POST", headers: { "sec-fetch-site": "cross-site" } };
    assert.deepEqual(await problemOf(await app.request("/v1/accounts/a%2Fb/pause", foreign)), [
      403,
      "origin_refused",
      [],
    ]);
    assert.deepEqual(await db.query("select verb, who, why from inturn.operator_log order by id"), [
      { verb: "pause", who: "http", why: null },
      { verb: "skip", who: "kim", why: "known bug" },
      { verb: "resume", who: "http", why: null },
    ]);
  }),
);

test("without a database the server is alive, not ready, and answers 503 with Retry-After", async () => {
  const database = openDatabase({
    url: "postgres://x@127.0.0.1:1/x",
    name: "test",
    connectionsMax: 1,
    onError: () => undefined,
  });
  const app = createTestApp(database);
  assert.equal((await app.request("/livez")).status, 200);
  for (const path of ["/readyz", "/v1/accounts", "/v1/accounts/a", "/results"]) {
    assert.deepEqual(await problemOf(await app.request(path)), [503, "database_unavailable", []], path);
  }
  const refused = await post(app, '{"accountId":"a","data":1}');
  assert.equal(refused.headers.get("retry-after"), "1");
  assert.deepEqual(await problemOf(refused), [503, "database_unavailable", []]);
  await database.end();
});

test(
  "the real server takes chunked bodies, cuts off a lying length, and goes on",
  withDatabase(async (db) => {
    const api = await startApi({ settings: readSettings({ PORT: "0" }), databaseUrl: db.url, log });
    const { port } = new URL(api.url);
    const chunked = await new Promise<number | undefined>((resolve, reject) => {
      const sending = request(`${api.url}/v1/events`, {
        method: "POST",
        headers: { "content-type": "application/json" },
      });
      sending.on("response", (response) => resolve(response.resume().statusCode)).on("error", reject);
      sending.write('{"accountId":"a",');
      sending.end('"data":1}');
    });
    assert.equal(chunked, 202);
    const raw = async (text: string) =>
      await new Promise<string>((resolve, reject) => {
        let answer = "";
        const socket = connect(Number(port), "127.0.0.1", () => socket.end(text));
        socket
          .setEncoding("utf8")
          .on("data", (part: string) => (answer += part))
          .on("error", reject)
          .on("close", () => resolve(answer));
      });
    const head = "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    assert.match(await raw(`${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\n{"a":1}`), /^HTTP\/1\.1 400/);
    assert.match(await raw(`${head}Content-Length: -1\r\n\r\n`), /^HTTP\/1\.1 400/);
    assert.match(await raw(`${head}Content-Length: 99999999\r\n\r\n`), /^HTTP\/1\.1 413/);
    assert.match(await raw("GET http://elsewhere.example/livez HTTP/1.1\r\nHost: x\r\n\r\n"), /^HTTP\/1\.1 400/);
    await raw(`${head}Content-Length: 100\r\n\r\n{"accountId":"half","data":`);
    const after = await fetch(`${api.url}/v1/events`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"accountId":"a","data":2}',
    });
    assert.equal(after.status, 202);
    assert.deepEqual(await db.query("select account_id, events from inturn.account_results"), [
      { account_id: "a", events: 2 },
    ]);
    await api.close();
  }),
);

test(
  "whoever sends events waits for none of those who read, however many and slow they are",
  withDatabase(async (db) => {
    const api = await startApi({ settings: readSettings({ PORT: "0" }), databaseUrl: db.url, log });
    const send = async (data: number) => {
      const headers = { "content-type": "application/json" };
      const body = JSON.stringify({ accountId: "a", data });
      return (await fetch(`${api.url}/v1/events`, { method: "POST", headers, body })).status;
    };
    assert.equal(await send(1), 202);
    await db.query(`
      alter view inturn.account_results rename to account_results_at_once;
      create view inturn.account_results as
        select * from inturn.account_results_at_once where pg_sleep(2)::text = '';`);
    let answered = 0;
    const reads = Array.from({ length: 60 }, async () => {
      await fetch(`${api.url}/v1/accounts?limit=1`);
      answered += 1;
    });
    await until(
      "reads are under way",
      async () =>
        (await db.query("select from pg_stat_activity where query like '%account_results%' and wait_event = 'PgSleep'"))
          .length > 4,
    );
    assert.equal(await send(2), 202);
    assert.equal((await fetch(`${api.url}/readyz`)).status, 200);
    assert.equal(answered, 0);
    await Promise.all(reads);
    await api.close();
  }),
);

test(
  "more connections than there may be are closed at once, and those that are there go on",
  withDatabase(async (db) => {
    const { fetch } = createTestApp(db.database);
    const api = await listen({ fetch, host: "127.0.0.1", port: 0, connectionsMax: 2, keepAliveMs: 5_000, log });
    const port = Number(new URL(api.url).port);
    const open = async () =>
      await new Promise<{ ask: () => Promise<string>; end: () => void }>((resolve) => {
        let answer = "";
        const socket = connect(port, "127.0.0.1");
        const heard = new EventTarget();
        socket.setEncoding("utf8").on("data", (text: string) => {
          answer += text;
          heard.dispatchEvent(new Event("end"));
        });
        socket.on("error", () => undefined).on("close", () => heard.dispatchEvent(new Event("end")));
        const ask = async () =>
          await new Promise<string>((done) => {
            heard.addEventListener("end", () => done(answer.slice(0, 12)), { once: true });
            socket.write("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
          });
        socket.on("connect", () => resolve({ ask, end: () => socket.destroy() }));
      });
    const [first, second] = [await open(), await open()];
    assert.deepEqual([await first.ask(), await second.ask()], ["HTTP/1.1 200", "HTTP/1.1 200"]);
    const third = await open();
    assert.equal(await third.ask(), "");
    assert.equal(await first.ask(), "HTTP/1.1 200");
    for (const { end } of [first, second, third]) end();
    await api.close();
  }),
);

test(
  "a connection that is idle is kept for as long as the setting says: longer than balancers do",
  withDatabase(async (db) => {
    const api = await startApi({ settings: readSettings({ PORT: "0" }), databaseUrl: db.url, log });
    const { headers } = await fetch(`${api.url}/livez`);
    assert.equal(headers.get("keep-alive"), "timeout=75");
    await api.close();
  }),
);

test(
  "a port that is taken is named, without a stack",
  withDatabase(async (db) => {
    const api = await startApi({ settings: readSettings({ PORT: "0" }), databaseUrl: db.url, log });
    const { port } = new URL(api.url);
    await assert.rejects(startApi({ settings: readSettings({ PORT: port }), databaseUrl: db.url, log }), {
      code: "address_unavailable",
      message: `Cannot listen on 127.0.0.1, port ${port}: another process listens there; choose another port.`,
    });
    await api.close();
  }),
);

test(
  "a database that is read-only is not ready, with the true reason",
  withDatabase(async (db) => {
    await db.query(
      "do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$",
    );
    const api = await startApi({ settings: readSettings({ PORT: "0" }), databaseUrl: db.url, log });
    const answer = await fetch(`${api.url}/readyz`);
    const { code, detail } = (await answer.json()) as { code: string; detail: string };
    assert.deepEqual([answer.status, code], [503, "database_unavailable"]);
    assert.match(detail, /read-only/);
    await api.close();
  }),
);
