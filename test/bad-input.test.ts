/**
 * Bad input, byte by byte, against the real server process: the documented answer each time, nothing half-written, nothing told
 * of our insides, and the next good request is taken.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { withDatabase } from "./support/database.ts";
import { startProcess } from "./support/process.ts";

interface Case {
  readonly name: string;
  readonly send: string | Buffer | readonly (string | Buffer)[];
  readonly expect: number | readonly number[];
  /** Whether the request is one to be taken. */
  readonly stores?: number;
  /** Whether our side stops sending with the last byte. */
  readonly halfCloses?: boolean;
  /** What the answer must hold. */
  readonly holds?: RegExp;
}

const GOOD = '{"accountId":"good","data":1}';

const head = (extra: readonly string[] = [], first = "POST /v1/events HTTP/1.1") =>
  `${[first, "Host: 127.0.0.1", "Content-Type: application/json", "Connection: close", ...extra].join("\r\n")}\r\n\r\n`;

const post = (body: string | Buffer, extra: readonly string[] = []) =>
  Buffer.concat([Buffer.from(head([`Content-Length: ${Buffer.byteLength(body)}`, ...extra])), Buffer.from(body)]);

const typed = (type: string, body: string | Buffer = GOOD, extra: readonly string[] = []) => {
  const lines = [
    "POST /v1/events HTTP/1.1",
    "Host: 127.0.0.1",
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Connection: close",
    ...extra,
  ];
  if (type !== "") lines.push(`Content-Type: ${type}`);
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), Buffer.from(body)]);
};

const get = (path: string, method = "GET") =>
  `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`;

const data = (text: string) => post(`{"accountId":"d","data":${text}}`);

const field = (name: string, value: unknown) => post(JSON.stringify({ accountId: "f", data: 1, [name]: value }));

const chunked = (...chunks: string[]) => [head(["Transfer-Encoding: chunked"]), ...chunks];
const chunk = (text: string) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;

const FRAMING: Case[] = [
  { name: "no body", send: head(["Content-Length: 0"]), expect: 400 },
  { name: "no length at all", send: head(), expect: 400 },
  {
    name: "a body shorter than announced, then the end",
    send: `${head(["Content-Length: 100"])}{"accountId":`,
    expect: [400, 0],
    halfCloses: true,
  },
  { name: "a negative length", send: head(["Content-Length: -1"]), expect: 400 },
  { name: "a length that is none", send: head(["Content-Length: x"]), expect: 400 },
  { name: "two lengths", send: `${head(["Content-Length: 29", "Content-Length: 30"])}${GOOD}`, expect: 400 },
  {
    name: "a length and chunks",
    send: `${head(["Content-Length: 5", "Transfer-Encoding: chunked"])}${chunk(GOOD)}0\r\n\r\n`,
    expect: 400,
  },
  { name: "chunks", send: chunked(chunk(GOOD.slice(0, 9)), chunk(GOOD.slice(9)), "0\r\n\r\n"), expect: 202, stores: 1 },
  { name: "a bad chunk size", send: chunked("zz\r\nxx\r\n"), expect: 400 },
  { name: "an announced body over the limit", send: head(["Content-Length: 8388609"]), expect: 413 },
  {
    name: "chunks over the limit",
    send: chunked(chunk(`"${"x".repeat(5_000_000)}`), chunk("x".repeat(5_000_000))),
    expect: 413,
  },
  { name: "no Host", send: "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", expect: 400 },
  { name: "a Host that is none", send: "GET /livez HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n", expect: 400 },
  { name: "two Hosts", send: "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", expect: 400 },
  {
    name: "a whole URL for another host",
    send: "GET http://elsewhere.example/livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    expect: [400, 421],
  },
  { name: "a header of 20 KB", send: head([`X: ${"x".repeat(20_000)}`]), expect: 431 },
  { name: "3,000 headers", send: head(Array.from({ length: 3_000 }, (_, i) => `X-${i}: 1`)), expect: 431 },
  { name: "a NUL in a header", send: head(["X: a\0b"]), expect: 400 },
  { name: "a bare line feed", send: "GET /livez HTTP/1.1\nHost: 127.0.0.1\n\n", expect: 400 },
  { name: "a folded header", send: head(["X: a", " b"]), expect: 400 },
  { name: "a request line that is none", send: "HELLO\r\n\r\n", expect: 400 },
  {
    name: "TLS on a plain port",
    send: Buffer.from([22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]),
    expect: 400,
    halfCloses: true,
  },
  {
    name: "Expect: 100-continue",
    send: post(GOOD, ["Expect: 100-continue"]),
    expect: 202,
    stores: 1,
    holds: /^HTTP\/1\.1 100/,
  },
  { name: "another expectation", send: post(GOOD, ["Expect: a-miracle"]), expect: 417 },
  { name: "DELETE", send: get("/v1/events", "DELETE"), expect: 405, holds: /\r\nallow: POST, GET, HEAD\r\n/i },
  { name: "PUT on an account", send: get("/v1/accounts/a", "PUT"), expect: 405, holds: /\r\nallow: GET, HEAD\r\n/i },
  { name: "OPTIONS", send: get("/v1/events", "OPTIONS"), expect: 405 },
  { name: "TRACE", send: get("/v1/events", "TRACE"), expect: [400, 405, 501] },
  { name: "CONNECT", send: "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", expect: [0, 400, 405] },
  { name: "an unknown method", send: get("/v1/events", "BREW"), expect: [400, 405] },
];

const TYPES: Case[] = [
  { name: "text/plain", send: typed("text/plain"), expect: 415 },
  { name: "no type", send: typed(""), expect: 415 },
  { name: "UTF-16", send: typed("application/json; charset=utf-16"), expect: 415 },
  { name: "UTF-8, in words", send: typed('application/json; charset="UTF-8"'), expect: 202, stores: 1 },
  { name: "multipart", send: typed("multipart/form-data; boundary=x"), expect: 415 },
  { name: "a form", send: typed("application/x-www-form-urlencoded"), expect: 415 },
  {
    name: "a plain body that says it is packed",
    send: typed("application/json", GOOD, ["Content-Encoding: gzip"]),
    expect: 415,
  },
  {
    name: "a gzip bomb",
    send: typed("application/json", gzipSync("0".repeat(50_000_000)), ["Content-Encoding: gzip"]),
    expect: 415,
  },
];

const PATHS: Case[] = [
  ...["%00", "%ZZ", "%ff%fe", "a%00b"].map((id) => ({
    name: `an account named ${id}`,
    send: get(`/v1/accounts/${id}`),
    expect: 400,
  })),
  { name: "dots in a path", send: get("/v1/accounts/..%2f..%2fetc"), expect: [400, 404] },
  { name: "an account of 5,000 characters", send: get(`/v1/accounts/${"x".repeat(5_000)}`), expect: [400, 404] },
  ...["__proto__", "constructor", "toString"].map((id) => ({
    name: `an account named ${id}`,
    send: post(`{"accountId":"${id}","data":1}`),
    expect: 202,
    stores: 1,
  })),
  {
    name: "twins, composed and decomposed, and marks of direction",
    send: post('[{"accountId":"\u00e9","data":1},{"accountId":"e\u0301","data":1},{"accountId":"\u202eabc","data":1}]'),
    expect: 202,
    stores: 3,
    holds: /"seq":1.*"seq":1.*"seq":1/,
  },
  {
    name: "SQL in a name",
    send: post(`{"accountId":"'; drop table x; --","data":"\\"'"}`),
    expect: 202,
    stores: 1,
  },
  ...["limit=-1", "limit=1e9", "limit[]=1", "cursor=broken", "limit=1&limit=1", "nothing=1"].map((query) => ({
    name: query,
    send: get(`/v1/accounts?${query}`),
    expect: 400,
  })),
  { name: "a query that spells no text", send: get("/v1/accounts?search=%ff"), expect: 400 },
  { name: "a path that is not there", send: get("/v1/nothing"), expect: 404 },
];

const JSON_TEXTS: Case[] = [
  ...["null", "5", "[]", '""', "true"].map((text) => ({
    name: `the body ${text}`,
    send: post(text),
    expect: [400, 422],
  })),
  ...[
    '{"accountId":"a","data":1,}',
    "[1,]",
    '{"accountId":"a",/* */"data":1}',
    "NaN",
    `${GOOD}${GOOD}`,
    "{",
    "'a'",
    '{"a":01}',
    '"\t"',
    "[".repeat(100_000),
  ].map((text) => ({ name: `the text ${text.slice(0, 30)}`, send: post(text), expect: [400, 422] })),
  { name: "a byte-order mark", send: post(`\ufeff${GOOD}`), expect: 202, stores: 1 },
  { name: "a NUL in a value", send: data('{"a":["x\\u0000"]}'), expect: 422, holds: /"pointer":"\/data\/a\/0"/ },
  { name: "a NUL in a key", send: data('{"\\u0000":1}'), expect: 422 },
  { name: "a NUL under a key that comes again", send: data('{"a":"\\u0000","a":1}'), expect: 422 },
  { name: "half a surrogate pair", send: data('"\\ud800"'), expect: 422, holds: /"pointer":"\/data"/ },
  { name: "the other half", send: data('"\\udc00"'), expect: 422 },
  { name: "a whole pair", send: data('"\\ud83d\\ude00"'), expect: 202, stores: 1 },
  {
    name: "invalid UTF-8",
    send: post(Buffer.concat([Buffer.from('{"accountId":"a","data":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')])),
    expect: 400,
  },
  ...["9007199254740993", "1e400", "-0", "1234567890123456789012345678901234567890", "1.0", "[ 1 ]"].map((text) => ({
    name: `the data ${text}`,
    send: data(text),
    expect: 202,
    stores: 1,
  })),
  { name: "an absurd exponent", send: data("1e100000"), expect: 422 },
  { name: "a number of 10,000 digits", send: data("1".repeat(10_000)), expect: 422 },
  { name: "an own __proto__", send: data('{"__proto__":{"a":1}}'), expect: 202, stores: 1 },
  { name: "doubled keys: the last one counts, both are kept", send: data('{"a":1,"a":2}'), expect: 202, stores: 1 },
  {
    name: "a doubled field",
    send: post('{"accountId":"x","accountId":"d","data":1}'),
    expect: 202,
    stores: 1,
    holds: /"accountId":"d"/,
  },
  { name: "nesting over the limit", send: data(`${"[".repeat(101)}${"]".repeat(101)}`), expect: 422 },
  { name: "nesting up to the limit", send: data(`${"[".repeat(100)}${"]".repeat(100)}`), expect: 202, stores: 1 },
  { name: "nesting of 100,000", send: data(`${"[".repeat(100_000)}${"]".repeat(100_000)}`), expect: 422 },
  {
    name: "a million unknown keys",
    send: post(`{"accountId":"a","data":1${Array.from({ length: 500_000 }, (_, i) => `,"k${i}":1`).join("")}}`),
    expect: [413, 422],
  },
  {
    name: "an array over the limit",
    send: post(`[${Array(2_001).fill(GOOD).join(",")}]`),
    expect: 422,
    holds: /2001 events/,
  },
  {
    name: "one bad item",
    send: post(`[${GOOD},${GOOD},{"accountId":"","data":1}]`),
    expect: 422,
    holds: /"pointer":"\/2\/accountId"/,
  },
];

const FIELDS: Case[] = [
  { name: "no account", send: post('{"data":1}'), expect: 422, holds: /"pointer":"\/accountId"/ },
  { name: "no data", send: post('{"accountId":"a"}'), expect: 422, holds: /"pointer":"\/data"/ },
  ...["seq", "state", "receivedAt", "metadata", "__proto__x"].map((name) => ({
    name: `the field ${name}`,
    send: field(name, 1),
    expect: 422,
  })),
  ...[7, [], {}, { $gt: "" }, null, "", "x".repeat(251), "a\nb", "a\0b", "\u001b[31m"].map((id) => ({
    name: `the account ${JSON.stringify(id).slice(0, 20)}`,
    send: field("accountId", id),
    expect: 422,
  })),
  ...["infinity", "+300000-01-01T00:00:00Z", "2026-01-01T00:00:00", "now", "", 5, "2026-02-30T00:00:00Z"].map(
    (time) => ({ name: `the time ${time}`, send: field("time", time), expect: 422 }),
  ),
  ...["x".repeat(10_240), "a\0b", "a\nb", "", 5].map((id) => ({
    name: `the id ${JSON.stringify(id).slice(0, 20)}`,
    send: field("id", id),
    expect: 422,
  })),
  ...[0, -1, 1.5, "1", null].map((seq) => ({
    name: `the expected seq ${JSON.stringify(seq)}`,
    send: field("expectedSeq", seq),
    expect: 422,
  })),
  { name: "an id, once", send: field("id", "same"), expect: 202, stores: 1 },
  { name: "the same id with other content", send: post('{"accountId":"f","data":2,"id":"same"}'), expect: 409 },
];

/** Sends bytes, and reads until the server closes. */
async function exchange(port: number, one: Pick<Case, "send" | "halfCloses">): Promise<string> {
  return await new Promise<string>((resolve) => {
    let answer = "";
    const socket = connect(port, "127.0.0.1", () => {
      const parts = Array.isArray(one.send) ? (one.send as (string | Buffer)[]) : [one.send as string | Buffer];
      for (const part of parts) socket.write(part);
      if (one.halfCloses === true) socket.end();
    });
    socket.setEncoding("utf8").on("data", (text: string) => (answer += text));
    socket.on("error", () => undefined).on("close", () => resolve(answer));
  });
}

/** The last status; 0 without an answer. */
const statusOf = (answer: string) =>
  Number(
    answer
      .match(/HTTP\/1\.1 (\d{3})/g)
      ?.at(-1)
      ?.slice(9) ?? 0,
  );

const INSIDES = /inturn\.(?:accounts|events|append)|\bselect\b|\binsert\b|SQLSTATE|\n\s+at |node_modules|\/src\//i;

async function residentBytes(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1_024;
}

test(
  "every bad request is answered as it should be, stores nothing, and leaves a server that takes the next good one",
  withDatabase(async (db) => {
    const server = startProcess(["serve", "--port", "0"], { DATABASE_URL: db.url, LOG_LEVEL: "error" });
    const port = Number(new URL((await server.ready).url ?? "").port);
    const count = async () =>
      (await db.query<{ n: number }>("select count(*)::integer as n from inturn.events"))[0]?.n ?? 0;
    await exchange(port, { send: post(GOOD) });
    const bytesBefore = await residentBytes(server.child.pid);
    let stored = await count();
    const wrong: string[] = [];
    for (const one of [...FRAMING, ...TYPES, ...PATHS, ...JSON_TEXTS, ...FIELDS]) {
      const answer = await exchange(port, one);
      const status = statusOf(answer);
      const tell = (what: string) => wrong.push(`${one.name}: ${what}: ${answer.slice(0, 300)}`);
      if (![one.expect].flat().includes(status)) tell(`answered ${status}, not ${[one.expect].flat().join(" or ")}`);
      if (one.holds?.test(answer) === false) tell(`lacks ${one.holds}`);
      if (INSIDES.test(answer)) tell("tells of our insides");
      if (/problem\+json/.test(answer) && !/"code":"[a-z_]+".*"requestId":"[0-9a-f-]{36}"/s.test(answer))
        tell("has no code");
      stored += one.stores ?? 0;
      if ((await count()) !== stored) tell(`${await count()} events are stored, not ${stored}`);
      if (statusOf(await exchange(port, { send: post(GOOD) })) !== 202) tell("the next good request is refused");
      stored = await count();
    }
    assert.deepEqual(wrong, []);
    const accounts = await db.query<{ id: string }>("select id from inturn.accounts where last_seq = 0");
    assert.deepEqual(accounts, []);
    assert.ok((await residentBytes(server.child.pid)) < bytesBefore + 400 * 1_048_576);
    const texts = await db.query("select data::text as data from inturn.events where account_id = 'd' order by seq");
    const kept = [
      '"\\ud83d\\ude00"',
      "9007199254740993",
      "1e400",
      "-0",
      "1234567890123456789012345678901234567890",
      "1.0",
      "[ 1 ]",
    ];
    assert.deepEqual(
      texts.slice(0, kept.length).map((row) => row["data"]),
      kept,
    );
    assert.equal(await server.stop(), 0);
    assert.equal(server.output.stderr, "");
  }),
);

test(
  "requests on one connection are answered in their order; fifty copies at once are one event; a sender that goes away leaves nothing",
  withDatabase(async (db) => {
    const server = startProcess(["serve", "--port", "0"], { DATABASE_URL: db.url });
    const port = Number(new URL((await server.ready).url ?? "").port);
    const alive = (body: string) => post(body).toString().replace("Connection: close\r\n", "");
    const piped = [1, 2, 3].map((n) => alive(`{"accountId":"p","data":${n}}`)).join("") + get("/livez");
    const answers = await exchange(port, { send: piped });
    assert.deepEqual(answers.match(/"seq":\d|"status":"ok"/g), ['"seq":1', '"seq":2', '"seq":3', '"status":"ok"']);
    const copies = await Promise.all(
      Array.from({ length: 50 }, () => exchange(port, { send: post('{"accountId":"c","data":1,"id":"i"}') })),
    );
    assert.deepEqual(new Set(copies.map((answer) => /\{"accountId":"c","seq":1/.test(answer))), new Set([true]));
    assert.equal(copies.filter((answer) => answer.includes('"duplicate":false')).length, 1);
    await new Promise<void>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => {
        socket.write(`${head(["Content-Length: 200"])}{"accountId":"gone","data":"`, () => socket.resetAndDestroy());
      });
      socket.on("close", () => resolve());
    });
    assert.equal(statusOf(await exchange(port, { send: post(GOOD) })), 202);
    const rows = await db.query("select account_id, count(*)::integer as n from inturn.events group by 1 order by 1");
    assert.deepEqual(rows, [
      { account_id: "c", n: 1 },
      { account_id: "good", n: 1 },
      { account_id: "p", n: 3 },
    ]);
    assert.equal(await server.stop(), 0);
  }),
);

test(
  "who sends a byte now and then is cut off, in the headers and in the body",
  withDatabase(async (db) => {
    const server = startProcess(["serve", "--port", "0"], { DATABASE_URL: db.url });
    const port = Number(new URL((await server.ready).url ?? "").port);
    const drip = async (start: string) =>
      await new Promise<string>((resolve) => {
        let answer = "";
        const socket = connect(port, "127.0.0.1", () => socket.write(start));
        const dripping = setInterval(() => socket.write("x"), 500);
        socket.setEncoding("utf8").on("data", (text: string) => (answer += text));
        socket
          .on("error", () => undefined)
          .on("close", () => {
            clearInterval(dripping);
            resolve(answer);
          });
      });
    const [inHeaders, inBody] = await Promise.all([
      drip("POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "),
      drip(`${head(["Content-Length: 100000"])}{"accountId":"slow","data":"`),
    ]);
    assert.deepEqual([statusOf(inHeaders), statusOf(inBody)], [408, 408]);
    assert.equal(statusOf(await exchange(port, { send: post(GOOD) })), 202);
    assert.equal((await db.query("select from inturn.events where account_id = 'slow'")).length, 0);
    assert.equal(await server.stop(), 0);
  }),
);
