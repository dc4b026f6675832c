/**
 * What a sender may post: every format, and the text of the data exactly as it was sent.
 */
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { request } from "node:http";
import { test } from "node:test";
import { CloudEvent, HTTP } from "cloudevents";
import fc from "fast-check";
import { readSettings } from "../src/config/settings.ts";
import { createAccess } from "../src/engine/access.ts";
import { createAppender } from "../src/engine/append.ts";
import { BodyBudget } from "../src/engine/body-budget.ts";
import { createServerApp } from "../src/http/app.ts";
import { createEventRoutes } from "../src/http/events.ts";
import { sliceMember } from "../src/http/json-text.ts";
import { RateLimits } from "../src/http/rate-limits.ts";
import { createLog } from "../src/log/log.ts";
import { startApi } from "../src/service/api.ts";
import { createTestApp, LIMITS } from "./support/app.ts";
import { NO_CAPS } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";

type App = ReturnType<typeof createTestApp>;

const JSON_TYPE = { "content-type": "application/json" };
const NDJSON_TYPE = { "content-type": "application/x-ndjson" };

async function post(app: App, path: string, body: string, headers: Record<string, string>): Promise<[number, unknown]> {
  const response = await app.request(path, { method: "POST", body: body === "" ? null : body, headers });
  const text = await response.text();
  if (response.headers.get("content-type") === "application/x-ndjson") {
    return [
      response.status,
      text
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as unknown),
    ];
  }
  const { requestId: _, type: _t, title: _title, detail: _d, ...answer } = JSON.parse(text) as Record<string, unknown>;
  return [response.status, answer];
}

const stored = (db: TestDatabase) =>
  db.query(
    `select account_id as "accountId", seq, event_id as id, type, data::text, metadata, occurred_at as time
     from inturn.events order by 1, 2`,
  );

/** JSON texts in spellings that no serializer makes. */
const oddJson = fc.letrec<{ value: string; leaf: string }>((tie) => {
  const space = fc.constantFrom("", " ", "\n\t ", "\r");
  const string = fc.oneof(
    fc.constantFrom('"\\u00e9"', '"\\"]}\\\\"', '"{[,:"', '"\\\\"', '"😀"', '""', '"data"', '"d\\u0061ta"'),
    fc.string().map((text) => JSON.stringify(text.replaceAll("\0", ""))),
  );
  const leaf = fc.oneof(
    string,
    fc.constantFrom("1.0", "-0", "1e400", "1E+2", "9007199254740993", "0.10", "null", "true", "false"),
  );
  const list = (inner: fc.Arbitrary<string>, ends: string) =>
    fc
      .tuple(
        fc.array(
          fc.tuple(space, inner, space).map((parts) => parts.join("")),
          { maxLength: 3 },
        ),
        space,
      )
      .map(([items, empty]) => `${ends[0]}${items.length === 0 ? empty : items.join(",")}${ends[1]}`);
  const member = fc.tuple(string, space, space, tie("value")).map(([key, a, b, value]) => `${key}${a}:${b}${value}`);
  return { leaf, value: fc.oneof({ maxDepth: 4 }, leaf, list(tie("value"), "[]"), list(member, "{}")) };
}).value;

test("whatever JSON an event's data is, and whatever stands around it, its text is cut out exactly", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(oddJson, fc.option(oddJson), fc.constantFrom('"data"', '"d\\u0061ta"')), {
        minLength: 1,
        maxLength: 4,
      }),
      fc.constantFrom("", " ", "\n"),
      (items, space) => {
        const objects = items.map(
          ([data, other, key]) =>
            `{${other === null ? "" : `"other":${other},"data":1,`}${space}${key}${space}:${space}${data}${space}}`,
        );
        const expected = items.map(([data]) => data);
        const cut = (text: string) => sliceMember(text, "data").map((slice) => slice?.text);
        assert.deepEqual(cut(`[${objects.join(`${space},${space}`)}]`), expected);
        assert.deepEqual(cut(objects[0] ?? ""), expected.slice(0, 1));
      },
    ),
    { numRuns: 500 },
  );
});

test(
  "data comes back from the database and over HTTP byte for byte",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    await fc.assert(
      fc.asyncProperty(fc.array(oddJson, { minLength: 1, maxLength: 5 }), async (texts) => {
        await db.query("truncate inturn.accounts, inturn.events");
        // What PostgreSQL cannot hold is refused elsewhere.
        fc.pre(
          texts.every((text) => JSON.stringify(JSON.parse(text)).isWellFormed() && !/\\u(?:d[89a-f]|0000)/i.test(text)),
        );
        const body = `[${texts.map((text) => `{"accountId":"a","data": ${text} }`).join(",")}]`;
        const response = await app.request("/v1/events", { method: "POST", body, headers: JSON_TYPE });
        assert.equal(response.status, 202, await response.text());
        assert.deepEqual(
          (await stored(db)).map((event) => event["data"]),
          texts,
        );
        const listed = await (await app.request("/v1/accounts/a/events")).text();
        for (const text of texts) assert.ok(listed.includes(`"data":${text}`), listed);
      }),
      { numRuns: 60 },
    );
  }),
);

test(
  "one account's events may be sent to its own address, and to no other's",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    const path = "/v1/accounts/a%2F1/events";
    assert.deepEqual(await post(app, path, '{"data":1}', JSON_TYPE), [
      202,
      { accountId: "a/1", seq: 1, duplicate: false },
    ]);
    assert.deepEqual(await post(app, path, '[{"data":2,"accountId":"a/1"}]', JSON_TYPE), [
      202,
      { events: [{ accountId: "a/1", seq: 2, duplicate: false }] },
    ]);
    const [status, problem] = await post(app, path, '[{"data":3},{"data":3,"accountId":"b"}]', JSON_TYPE);
    const message = "is not the account that the path names";
    assert.deepEqual(
      [status, problem],
      [422, { status: 422, code: "event_invalid", errors: [{ pointer: "/1/accountId", detail: message }] }],
    );
    assert.equal((await post(app, `/v1/accounts/${"x".repeat(251)}/events`, '{"data":1}', JSON_TYPE))[0], 422);
    assert.equal((await stored(db)).length, 2);
  }),
);

test(
  "an Idempotency-Key is the id of what has none; a conflict names the event and the account's seq",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    const keyed = (key: string) => ({ ...JSON_TYPE, "idempotency-key": key });
    const one = '{"accountId":"a","data":1}';
    assert.deepEqual(await post(app, "/v1/events", one, keyed('"k 1"')), [
      202,
      { accountId: "a", seq: 1, duplicate: false },
    ]);
    assert.deepEqual(await post(app, "/v1/events", one, keyed('"k 1"')), [
      202,
      { accountId: "a", seq: 1, duplicate: true },
    ]);
    const many = '[{"accountId":"a","data":2},{"accountId":"a","data":2,"id":"own"}]';
    await post(app, "/v1/events", many, keyed("k2"));
    await post(app, "/v1/events", many, keyed("k2"));
    assert.deepEqual(
      (await stored(db)).map((event) => event["id"]),
      ["k 1", "k2:0", "own"],
    );
    assert.equal((await post(app, "/v1/events", one, keyed("two words")))[0], 400);
    const reused = '[{"accountId":"b","data":1},{"accountId":"a","data":7,"id":"own"}]';
    const [status, problem] = await post(app, "/v1/events", reused, JSON_TYPE);
    const { errors, ...rest } = problem as { errors: { pointer: string }[] };
    assert.deepEqual(
      [status, rest, errors[0]?.pointer],
      [409, { status: 409, code: "event_id_reused", accountId: "a", currentSeq: 3 }, "/1/id"],
    );
    const expecting = (seq: number) => `{"accountId":"a","data":1,"expectedSeq":${seq}}`;
    const [conflict, { errors: _, ...unexpected }] = (await post(app, "/v1/events", expecting(3), JSON_TYPE)) as [
      number,
      { errors: unknown },
    ];
    assert.deepEqual(
      [conflict, unexpected],
      [409, { status: 409, code: "seq_unexpected", accountId: "a", currentSeq: 3 }],
    );
    assert.equal((await post(app, "/v1/events", expecting(4), JSON_TYPE))[0], 202);
  }),
);

test(
  "lines are answered line by line, and the stream ends at the first that is not stored",
  withDatabase(async (db) => {
    const app = createTestApp(db.database, { limits: { ...LIMITS, batchEventsMax: 3 } });
    const line = (accountId: string, data: unknown, id?: string) => JSON.stringify({ accountId, data, id });
    const good = [line("a", 1), "", line("b", 1, "i"), line("a", 2), line("a", 3), line("b", 1, "i")];
    const ok = (n: number, accountId: string, seq: number, duplicate = false) => ({
      line: n,
      accountId,
      seq,
      duplicate,
    });
    assert.deepEqual(await post(app, "/v1/events", `${good.join("\r\n")}\n`, NDJSON_TYPE), [
      200,
      [ok(1, "a", 1), ok(3, "b", 1), ok(4, "a", 2), ok(5, "a", 3), ok(6, "b", 1, true)],
    ]);
    const codes = async (...lines: string[]) => {
      const [status, answers] = await post(app, "/v1/events", lines.join("\n"), NDJSON_TYPE);
      return Array.isArray(answers)
        ? answers.map((answer: Record<string, unknown>) => answer["code"] ?? answer["seq"])
        : [status, (answers as { code: string }).code];
    };
    assert.deepEqual(await codes(line("a", 4), "{broken", line("a", 5)), [4, "json_malformed"]);
    assert.deepEqual(await codes(line("a", 5), line("b", 2, "i"), line("a", 6)), [5, "event_id_reused"]);
    assert.deepEqual(await codes(line("a", 6), line("a", 7), line("a", 8), line("a", 9), '{"accountId":"a"}'), [
      6,
      7,
      8,
      9,
      "event_invalid",
    ]);
    assert.deepEqual(await codes("[]", line("a", 10)), [422, "event_invalid"]);
    assert.deepEqual(await codes(line("b", 3, "i"), line("a", 10)), [409, "event_id_reused"]);
    assert.deepEqual(await codes("", " "), [400, "body_missing"]);
    assert.equal((await db.query("select from inturn.events where account_id = 'a'")).length, 9);
  }),
);

test(
  "a line may be as long as a body; a longer one ends the stream, and what stood before it is stored",
  withDatabase(async (db) => {
    const app = createTestApp(db.database, { limits: { ...LIMITS, bodyBytesMax: 200_000 } });
    const send = async (...lengths: number[]) => {
      const lines = lengths.map((length) => `{"accountId":"a","data":"${"x".repeat(length)}"}\n`).join("");
      const stream = new ReadableStream({
        start(controller) {
          for (let at = 0; at < lines.length; at += 65_536)
            controller.enqueue(Buffer.from(lines.slice(at, at + 65_536)));
          controller.close();
        },
      });
      const init = { method: "POST", body: stream, headers: NDJSON_TYPE, duplex: "half" as const };
      const text = await (await app.request("http://localhost/v1/events", init)).text();
      return text
        .trimEnd()
        .split("\n")
        .map(
          (line) =>
            (JSON.parse(line) as { seq?: number; code?: string }).seq ?? (JSON.parse(line) as { code: string }).code,
        );
    };
    assert.deepEqual(await send(10, 190_000, 10), [1, 2, 3]);
    assert.deepEqual(await send(10, 300_000, 10), [4, "body_too_large"]);
    assert.deepEqual(await send(300_000), ["body_too_large"]);
    assert.equal((await db.query("select from inturn.events")).length, 4);
  }),
);

test(
  "a stream of lines is stored and answered while it is still being sent",
  withDatabase(async (db) => {
    const settings = { ...readSettings({}), port: 0 };
    const api = await startApi({ settings, databaseUrl: db.url, log: createLog({ level: "silent", name: "test" }) });
    try {
      const sending = request(`${api.url}/v1/events`, { method: "POST", headers: NDJSON_TYPE });
      const body = (n: number) => `${JSON.stringify({ accountId: "a", data: n })}\n`;
      sending.write(body(1));
      const [response] = (await once(sending, "response")) as [import("node:http").IncomingMessage];
      response.setEncoding("utf8");
      const [first] = (await once(response, "data")) as [string];
      assert.deepEqual(JSON.parse(first), { line: 1, accountId: "a", seq: 1, duplicate: false });
      const half = body(2).slice(0, 10);
      sending.write(half);
      sending.write(body(2).slice(10) + body(3));
      let answers = "";
      response.on("data", (text: string) => (answers += text));
      sending.end();
      await once(response, "end");
      assert.deepEqual(
        answers
          .trimEnd()
          .split("\n")
          .map((text) => (JSON.parse(text) as { seq: number }).seq),
        [2, 3],
      );
    } finally {
      await api.close();
    }
  }),
);

test(
  "lines whose answers nobody reads take their sender's memory; the stream that finds none left says so and ends",
  withDatabase(async (db) => {
    const limits = { ...LIMITS, bodyBytesMax: 250_000 };
    const log = createLog({ level: "silent", name: "test" });
    const access = createAccess({ database: db.database, environmentKeys: [] });
    const appender = createAppender(db.database, NO_CAPS);
    const budget = new BodyBudget({ bodyBytesMax: 250_000, bytesMax: 250_000 });
    const routes = createEventRoutes({ appender, limits, budget, log, rates: new RateLimits() });
    const app = createServerApp({ log, access, openTo: "this machine" }, { routes });
    const outgoing = Object.assign(new EventEmitter(), { closed: false });
    const lines = Array.from({ length: 10_000 }, (_, i) => `{"accountId":"a","data":${i}}\n`).join("");
    const response = await app.request(
      "/v1/events",
      { method: "POST", body: lines, headers: NDJSON_TYPE },
      { outgoing },
    );
    const isFree = () => {
      const memory = budget.of("http");
      try {
        memory.take(200_000);
        memory.give(200_000);
        return true;
      } catch {
        return false;
      }
    };
    // Three batches of 2,000 answers fit; the fourth is stored, and told of before the stream ends.
    await until("answers wait for their reader", async () => (await stored(db)).length === 8_000);
    assert.ok(!isFree());
    const answers = (await response.text()).trimEnd().split("\n");
    assert.match(answers.at(-1) ?? "", /"line":null,.*"code":"overloaded"/);
    assert.equal((await db.query("select from inturn.events")).length, answers.length - 1);
    assert.ok(answers.length < 10_000);
    outgoing.emit("close");
    assert.ok(isFree(), "their memory has come back");
  }),
);

test(
  "CloudEvents of the official SDK arrive in every mode; source and id are the id, the attributes are metadata",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    const event = (id: string, extra: object = {}) =>
      new CloudEvent({
        id,
        source: "/shop",
        type: "order.paid",
        time: "2026-01-02T03:04:05Z",
        subject: "a",
        data: { n: 1 },
        ...extra,
      });
    const send = async (message: ReturnType<typeof HTTP.binary>) =>
      await post(app, "/v1/events", message.body as string, message.headers as Record<string, string>);
    assert.deepEqual(await send(HTTP.binary(event("1", { subject: "é 1" }))), [
      202,
      { accountId: "é 1", seq: 1, duplicate: false },
    ]);
    const structured = HTTP.structured(event("1"));
    assert.deepEqual(await send(structured), [202, { accountId: "a", seq: 1, duplicate: false }]);
    assert.deepEqual(await send(structured), [202, { accountId: "a", seq: 1, duplicate: true }]);
    const batch = JSON.stringify([event("2", { partitionkey: "a", comexample: true }), event("3")]);
    assert.deepEqual(await post(app, "/v1/events", batch, { "content-type": "application/cloudevents-batch+json" }), [
      202,
      {
        events: [
          { accountId: "a", seq: 2, duplicate: false },
          { accountId: "a", seq: 3, duplicate: false },
        ],
      },
    ]);
    const [, , second] = await stored(db).then((rows) => [
      rows.at(-1),
      ...rows.filter((row) => row["accountId"] === "a"),
    ]);
    assert.deepEqual(
      { ...second, time: new Date(String(second?.["time"])).toISOString() },
      {
        accountId: "a",
        seq: 2,
        id: "/shop 2",
        type: "order.paid",
        data: '{"n":1}',
        time: "2026-01-02T03:04:05.000Z",
        metadata: { specversion: "1.0", id: "2", source: "/shop", subject: "a", partitionkey: "a", comexample: true },
      },
    );
  }),
);

test(
  "a CloudEvent that is none, or names no account, is refused with the attribute; binary data is kept as base64",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    const type = { "content-type": "application/cloudevents+json" };
    const base = { specversion: "1.0", id: "1", source: "/s", type: "t", subject: "a" };
    const pointers = async (body: object) => {
      const [status, answer] = await post(app, "/v1/events", JSON.stringify(body), type);
      return [status, ...((answer as { errors?: { pointer: string }[] }).errors ?? []).map((error) => error.pointer)];
    };
    assert.deepEqual(await pointers({ ...base, subject: undefined }), [422, "/partitionkey"]);
    assert.deepEqual(await pointers({ ...base, specversion: "0.3" }), [422, "/specversion"]);
    assert.deepEqual(await pointers({ ...base, source: "", id: 5 }), [422, "/id", "/source"]);
    assert.deepEqual(await pointers({ ...base, Upper: "x" }), [422, ""]);
    assert.deepEqual(await pointers({ ...base, extension: {} }), [422, "/extension"]);
    assert.deepEqual(await pointers([base]), [422, ""]);
    assert.deepEqual(await pointers({ ...base, id: "x".repeat(249) }), [422, "/id"]);
    assert.deepEqual(await pointers({ ...base, data: 1, data_base64: "AAA=" }), [422, ""]);
    assert.deepEqual(await pointers({ ...base, data_base64: "AAE=" }), [202]);
    const [event] = await stored(db);
    assert.deepEqual(
      [event?.["data"], (event?.["metadata"] as { dataencoding: string } | undefined)?.dataencoding],
      ['"AAE="', "base64"],
    );
    const headers = {
      "ce-specversion": "1.0",
      "ce-id": "2",
      "ce-source": "/s",
      "ce-type": "t",
      "ce-partitionkey": "p",
    };
    assert.equal((await post(app, "/v1/events", "", headers))[0], 202);
    assert.equal((await post(app, "/v1/events", "x", { ...headers, "content-type": "text/plain" }))[0], 415);
    assert.equal((await post(app, "/v1/events", "{}", { ...headers, ...JSON_TYPE, "ce-subject": "%ff" }))[0], 422);
  }),
);

test(
  "large bodies together take no more memory than there is for them, and give it back",
  withDatabase(async (db) => {
    const never = Promise.withResolvers<never>();
    const real = createAppender(db.database, { accountPendingMax: 1_000, pendingMax: 1_000 });
    let isStuck = true;
    const appender = {
      append: async (events: Parameters<typeof real.append>[0]) =>
        isStuck ? await never.promise : await real.append(events),
    };
    const app = createTestApp(db.database, { appender, limits: { ...LIMITS, bodyBytesMax: 67_108_864 } });
    const body = JSON.stringify({ accountId: "a", data: "x".repeat(60 * 1_048_576) });
    const headers = { ...JSON_TYPE, "content-length": String(body.length) };
    const send = async () => await app.request("/v1/events", { method: "POST", body, headers });
    const stuck = [send(), send(), send(), send()];
    const refused = await send();
    assert.deepEqual([refused.status, refused.headers.get("retry-after")], [503, "1"]);
    isStuck = false;
    never.reject(new Error("let go"));
    await Promise.all(stuck);
    assert.equal((await send()).status, 202);
  }),
);
