/**
 * Pushing events to a URL: in order, signed, each until it is done with; and never to where nobody allowed it.
 */
import assert from "node:assert/strict";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { Webhook } from "standardwebhooks";
import { createRules } from "../src/domain/failure.ts";
import { isNetwork } from "../src/domain/push.ts";
import type { HandlerContext, HandlerEvent } from "../src/engine/handler.ts";
import { runTurn } from "../src/engine/turn.ts";
import { retryWishOf } from "../src/errors/retry.ts";
import { createLog } from "../src/log/log.ts";
import { Destination } from "../src/push/destination.ts";
import { createAddressCheck } from "../src/push/networks.ts";
import { createPushHandler, type PushOptions } from "../src/push/push-handler.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { withDatabase } from "./support/database.ts";
import { createTestWorker, rule } from "./support/worker.ts";

const SECRETS = ["whsec_bmV3IHNlY3JldCBmb3IgcHVzaGVkIGV2ZW50cw==", "whsec_b2xkIHNlY3JldCBmb3IgcHVzaGVkIGV2ZW50cw=="];

interface Received {
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** A receiver that answers as told, and what it got. */
async function startReceiver(answer: (response: ServerResponse, received: Received) => void) {
  const got: Received[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const received = { url: request.url ?? "", headers: request.headers, body: Buffer.concat(chunks).toString() };
      got.push(received);
      answer(response, received);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    got,
    port,
    url: `http://127.0.0.1:${port}/hook?key=1`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

const event: HandlerEvent = {
  accountId: "a/ü 1",
  seq: 7,
  id: "evt-7",
  type: "payment.made",
  data: { amount: 1 },
  dataText: '{"amount":1.000000000000000000001}',
  metadata: { source: "/shop", region: "eu", traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
  occurredAt: null,
  receivedAt: new Date("2026-05-01T18:00:00Z"),
};

const contextOf = (signal: AbortSignal = new AbortController().signal): HandlerContext => ({
  signal,
  attempt: 2,
  epoch: 5,
  idempotencyKey: "a/ü 1/7",
  log: createLog({ level: "silent", name: "test" }),
  transaction: async () => {
    throw new Error("none here");
  },
});

const createPush = (push: string, options: Partial<PushOptions> = {}) =>
  createPushHandler({
    secrets: SECRETS,
    format: "cloudevents",
    requestsMax: 10,
    networks: ["127.0.0.0/8"],
    ruleOf: () => ({ push, target: "hook" }),
    ...options,
  });

test("a request carries the data to the letter, says all of the event, and is signed with both secrets", async () => {
  const receiver = await startReceiver((response) => response.writeHead(204).end());
  try {
    await createPush(receiver.url)(event, contextOf());
    await createPush(receiver.url, { format: "json" })(event, contextOf());
    const [cloud, json] = receiver.got;
    assert.equal(cloud?.url, "/hook?key=1");
    assert.equal(cloud.body, event.dataText);
    const { headers } = cloud;
    for (const [name, value] of Object.entries({
      "content-type": "application/json",
      "webhook-id": "a/%C3%BC%201/7",
      "inturn-account": "a/%C3%BC%201",
      "inturn-seq": "7",
      "inturn-attempt": "2",
      "inturn-epoch": "5",
      "ce-specversion": "1.0",
      "ce-id": "evt-7",
      "ce-type": "payment.made",
      "ce-source": "/shop",
      "ce-subject": "a/%C3%BC%201",
      "ce-time": "2026-05-01T18:00:00.000Z",
      "ce-region": "eu",
      traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    })) {
      assert.equal(headers[name], value, name);
    }
    for (const { headers: sent, body } of receiver.got) {
      for (const secret of SECRETS)
        new Webhook(secret).verify(body, sent as Record<string, string>, { jsonParse: false });
    }
    assert.match(json?.body ?? "", /"data":\{"amount":1\.000000000000000000001\}\}$/);
    assert.deepEqual(
      { ...(JSON.parse(json?.body ?? "{}") as object), data: null },
      {
        accountId: event.accountId,
        seq: 7,
        id: "evt-7",
        type: "payment.made",
        attempt: 2,
        epoch: 5,
        idempotencyKey: "a/ü 1/7",
        occurredAt: null,
        receivedAt: "2026-05-01T18:00:00.000Z",
        metadata: event.metadata,
        data: null,
      },
    );
    assert.equal(json?.headers["ce-id"], undefined);
  } finally {
    receiver.close();
  }
});

test("what the answer says decides what becomes of the event", async () => {
  let respond = (response: ServerResponse): void => void response.end();
  const receiver = await startReceiver((response) => respond(response));
  const push = createPush(receiver.url);
  const outcome = async (answer: (response: ServerResponse) => void) => {
    respond = answer;
    try {
      await push(event, contextOf());
      return "done";
    } catch (error) {
      return { wish: retryWishOf(error, Date.now()), message: (error as Error).message };
    }
  };
  const withStatus = async (status: number, headers: Record<string, string> = {}, text = "because") =>
    await outcome((response) => response.writeHead(status, headers).end(text));
  const name = `POST http://127.0.0.1:${receiver.port}/hook`;
  try {
    for (const status of [200, 201, 202, 204, 299]) assert.equal(await withStatus(status, {}, ""), "done");
    assert.deepEqual(await withStatus(410), {
      wish: { never: true },
      message: `${name} was answered with 410: because`,
    });
    for (const status of [429, 503]) {
      const away = { away: "hook", retryAfterMs: null };
      assert.deepEqual(await withStatus(status), {
        wish: away,
        message: `${name} was answered with ${status}: because`,
      });
      const told = (await withStatus(status, { "retry-after": "7" })) as { wish: { retryAfterMs: number } };
      assert.ok(told.wish.retryAfterMs > 6_000 && told.wish.retryAfterMs <= 7_000);
      const late = (await withStatus(status, { "retry-after": "999999999" })) as { wish: { retryAfterMs: number } };
      assert.ok(late.wish.retryAfterMs <= 3_600_000);
      const odd = (await withStatus(status, { "retry-after": "soon" })) as { wish: object };
      assert.deepEqual(odd.wish, away);
    }
    for (const status of [300, 301, 302, 307, 308, 400, 401, 404, 422, 500, 502, 504]) {
      const failed = await withStatus(status, { location: "http://127.0.0.1:1/elsewhere" });
      assert.deepEqual(failed, { wish: undefined, message: `${name} was answered with ${status}: because` });
    }
    assert.ok(
      receiver.got.every(({ url }) => url === "/hook?key=1"),
      "no redirect was followed",
    );
    const broken = await outcome((response) => response.destroy());
    assert.match((broken as { message: string }).message, /^POST http:\/\/127\.0\.0\.1:\d+\/hook: UND_ERR_SOCKET/);
    const long = (await withStatus(500, {}, "x".repeat(1_000_000))) as { message: string };
    assert.equal(long.message.length, `${name} was answered with 500: `.length + 65_536);
    const endless = (await outcome((response) => {
      response.writeHead(400);
      const timer = setInterval(() => response.write("y".repeat(20_000)), 1);
      response.on("close", () => clearInterval(timer));
    })) as { message: string };
    assert.match(endless.message, /answered with 400: y{65536}$/);
    const over = new AbortController();
    const waits = outcome(() => over.abort(new Error("told to stop")));
    respond = () => over.abort(new Error("told to stop"));
    await assert.rejects(async () => await push(event, contextOf(over.signal)), /told to stop/);
    receiver.close();
    await waits;
    assert.match(((await outcome(() => undefined)) as { message: string }).message, /\/hook: ECONNREFUSED/);
  } finally {
    receiver.close();
  }
});

/** Where nobody must be led: as a URL's host, in every form that a parser takes. */
const HOSTS = [
  "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "0", "0.0.0.0",
  "127.255.255.254", "10.0.0.1", "0xa.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "0300.0250.1.1", "169.254.169.254", "2852039166",
  "0xa9fea9fe", "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1",
  "255.255.255.255", "１２７.0.0.1", "127。0。0。1", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]",
  "[64:ff9b::7f00:1]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]", "[2001::1]", "[2001:db8::1]", "[fe80::1]", "[fec0::1]", "[fc00::1]",
  "[fd00:ec2::254]", "[ff02::1]", "[100::1]", "[5f00::1]",
]; // biome-ignore format: a table

test(`${HOSTS.length} ways to write an address that is not public are refused, and so are names that resolve to one`, async () => {
  const refusesLiteral = (host: string) => {
    const check = createAddressCheck({ allowed: [], onlyAllowed: false });
    assert.throws(
      () => new Destination({ url: new URL(`https://${host}/`), requestsMax: 1, check }),
      { code: "push_refused" },
      host,
    );
  };
  HOSTS.forEach(refusesLiteral);
  const addresses = HOSTS.map((host) => new URL(`https://${host}/`).hostname.replaceAll(/[[\]]/g, ""));
  for (const address of addresses) {
    const resolve = ((_name: string, _options: object, callback: (error: null, found: object[]) => void) => {
      callback(null, [
        { address: "8.8.8.8", family: 4 },
        { address, family: address.includes(":") ? 6 : 4 },
      ]);
    }) as never;
    const push = createPush("https://receiver.example/", { networks: [], resolve });
    await assert.rejects(async () => await push(event, contextOf()), { code: "push_refused" }, address);
  }
  // The second answer of a name server is asked for, and judged, for a connection of its own.
  const receiver = await startReceiver((response) => response.writeHead(204, { connection: "close" }).end());
  let asked = 0;
  const rebinding = ((_name: string, _options: object, callback: (error: null, found: object[]) => void) => {
    asked += 1;
    callback(null, [{ address: asked === 1 ? "127.0.0.1" : "10.0.0.1", family: 4 }]);
  }) as never;
  const push = createPush(`http://receiver.example:${receiver.port}/`, { resolve: rebinding });
  await push(event, contextOf());
  await assert.rejects(async () => await push(event, contextOf()), { code: "push_refused" });
  assert.deepEqual([receiver.got.length, asked], [1, 2]);
  receiver.close();
});

test("public addresses are allowed, without TLS only those of networks that a setting names", () => {
  const open = createAddressCheck({ allowed: ["10.1.0.0/16", "fd12::/16"], onlyAllowed: false });
  for (const address of ["8.8.8.8", "2606:4700::1111", "10.1.2.3", "fd12::5", "::ffff:8.8.8.8", "::ffff:10.1.0.1"])
    assert.equal(open(address), undefined, address);
  assert.match(open("10.2.0.1") ?? "", /10\.2\.0\.1 is not public \(private\)/);
  assert.match(open("nonsense") ?? "", /is no address/);
  const plain = createAddressCheck({ allowed: ["10.1.0.0/16"], onlyAllowed: true });
  assert.equal(plain("10.1.2.3"), undefined);
  assert.match(plain("8.8.8.8") ?? "", /not among the allowed networks/);
  assert.deepEqual(["10.0.0.0/8", "fd00::/8", "10.0.0.1", "x/8", "10.0.0.0/33"].map(isNetwork), [
    true,
    true,
    false,
    false,
    false,
  ]);
});

test("a slow destination has its requests and as many that wait; who comes then is put off without an attempt", async () => {
  const open: ServerResponse[] = [];
  const receiver = await startReceiver((response) => open.push(response));
  const push = createPush(receiver.url, { requestsMax: 2 });
  const over = new AbortController();
  const calls = Array.from({ length: 4 }, () => Promise.resolve(push(event, contextOf(over.signal))));
  const ended = Promise.allSettled(calls);
  const crowded = await Promise.resolve(push(event, contextOf())).catch((error: unknown) =>
    retryWishOf(error, Date.now()),
  );
  assert.ok(typeof crowded === "object" && "countsAttempt" in crowded);
  assert.equal(crowded.countsAttempt, false);
  while (open.length < 2) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(receiver.got.length, 2);
  for (const response of open.splice(0)) response.writeHead(204).end();
  while (open.length < 2) await new Promise((resolve) => setImmediate(resolve));
  // Who waits no longer leaves the line.
  const third = new AbortController();
  const leaving = Promise.resolve(push(event, contextOf(third.signal)));
  third.abort(new Error("told to stop"));
  await assert.rejects(leaving, /told to stop/);
  for (const response of open.splice(0)) response.writeHead(204).end();
  assert.ok((await ended).every(({ status }) => status === "fulfilled"));
  receiver.close();
});

test(
  "pushed events of an account come one after the other, in their order, each until it is done with",
  withDatabase(async (db) => {
    const failed = new Set<string>();
    const receiver = await startReceiver((response, { headers }) => {
      const id = String(headers["webhook-id"]);
      const isFirst = !failed.has(id);
      failed.add(id);
      response.writeHead(isFirst && id.endsWith("2") ? 500 : 204).end();
    });
    const worker = await createTestWorker(db);
    const ruleOf = createRules({ ...rule, push: receiver.url }, {});
    const options = { ...worker.options, ruleOf, handler: createPush(receiver.url, { ruleOf }) };
    await appendEvents(
      db.database,
      ["a", "b"].flatMap((accountId) => [1, 2, 3].map((n) => newEvent({ accountId, data: String(n) }))),
    );
    while ((await db.query("select from inturn.accounts where state <> 'idle'")).length > 0) {
      await Promise.all([runTurn(options, "a"), runTurn(options, "b")]);
    }
    const order = receiver.got.map(({ headers, body }) => `${headers["webhook-id"] as string}=${body}`);
    for (const account of ["a", "b"]) {
      const own = order.filter((entry) => entry.startsWith(account));
      assert.deepEqual(
        own,
        ["1=1", "2=2", "2=2", "3=3"].map((entry) => `${account}/${entry}`),
      );
    }
    receiver.close();
  }),
);
