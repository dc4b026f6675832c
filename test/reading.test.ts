/**
 * Reading: pages, filters, cursors, and waiting for an event.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { readSettings } from "../src/config/settings.ts";
import { listAccounts } from "../src/db/accounts.ts";
import { findPage, readPage } from "../src/db/event-pages.ts";
import { Waiting } from "../src/engine/waiting.ts";
import { createLog } from "../src/log/log.ts";
import { startApi } from "../src/service/api.ts";
import { createTestApp } from "./support/app.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";

type App = ReturnType<typeof createTestApp>;

interface Page {
  readonly accounts: { accountId: string; pending: number; state: string }[];
  readonly next: string | null;
}

async function allPages(app: App, query: string): Promise<string[][]> {
  const pages: string[][] = [];
  for (let cursor: string | null = ""; cursor !== null; ) {
    const response: Response = await app.request(`/v1/accounts?${query}${cursor === "" ? "" : `&cursor=${cursor}`}`);
    assert.equal(response.status, 200);
    const page = (await response.json()) as Page;
    pages.push(page.accounts.map((account) => account.accountId));
    cursor = page.next;
  }
  return pages;
}

/** Accounts named by how many events wait, each in a state of its own. */
async function writeAccounts(db: TestDatabase): Promise<void> {
  const waiting = { a5: 5, a1: 1, b3: 3, b3x: 3, c0: 1, é: 2, "😀": 1, __proto__x: 1, "a/b": 1 };
  await appendEvents(
    db.database,
    Object.entries(waiting).flatMap(([accountId, count]) =>
      Array.from({ length: count }, () => newEvent({ accountId })),
    ),
  );
  await db.query("update inturn.accounts set state = 'idle', processed_seq = last_seq where id = 'c0'");
  await db.query("update inturn.accounts set state = 'blocked' where id in ('a1', 'b3')");
  await db.query("select inturn.pause('a5')");
}

test(
  "accounts come by id or by what waits, filtered by state and by the beginning of their id, page by page",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    await writeAccounts(db);
    const byId = ["__proto__x", "a/b", "a1", "a5", "b3", "b3x", "c0", "é", "😀"];
    assert.deepEqual((await allPages(app, "limit=2")).flat(), byId);
    assert.deepEqual(await allPages(app, "limit=9"), [byId, []]);
    assert.deepEqual(await allPages(app, "sort=pending&limit=3"), [
      ["a5", "b3", "b3x"],
      ["é", "__proto__x", "a/b"],
      ["a1", "😀"],
    ]);
    assert.deepEqual((await allPages(app, "state=blocked")).flat(), ["a1", "b3"]);
    assert.deepEqual((await allPages(app, "state=idle,paused&limit=1")).flat(), ["a5", "c0"]);
    assert.deepEqual((await allPages(app, "search=b3")).flat(), ["b3", "b3x"]);
    assert.deepEqual((await allPages(app, `search=${encodeURIComponent("😀")}`)).flat(), ["😀"]);
    assert.deepEqual((await allPages(app, "search=%25")).flat(), []);
    assert.deepEqual((await allPages(app, "search=a&state=blocked&sort=pending")).flat(), ["a1"]);
    for (const accountId of byId) {
      const one = (await (await app.request(`/v1/accounts/${encodeURIComponent(accountId)}`)).json()) as {
        accountId: string;
      };
      assert.equal(one.accountId, accountId);
    }
  }),
);

test(
  "a query that cannot be used is 400 and names the parameter; so is a cursor of another listing",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    await writeAccounts(db);
    const { next } = (await (await app.request("/v1/accounts?limit=1")).json()) as Page;
    const cases: [string, string][] = [
      ["limit=-1", "limit"],
      ["limit=0", "limit"],
      ["limit=1e9", "limit"],
      ["limit=1001", "limit"],
      ["limit=1&limit=2", "limit"],
      ["limit[]=1", "limit[]"],
      ["state=asleep", "state.0"],
      ["state=", "state.0"],
      ["sort=lag", "sort"],
      ["cursor=x", "cursor"],
      [`cursor=${next}x`, "cursor"],
      [`cursor=${next}&sort=pending`, "cursor"],
      [`cursor=${Buffer.from('{"sort":"id","accountId":"\\u0000","pending":0}').toString("base64url")}`, "cursor"],
      ["after=a", "after"],
    ];
    for (const [query, where] of cases) {
      const response = await app.request(`/v1/accounts?${query}`);
      const { code, errors } = (await response.json()) as { code: string; errors: { pointer: string }[] };
      assert.deepEqual(
        [response.status, code, errors.map((error) => error.pointer)],
        [400, "query_invalid", [where]],
        query,
      );
    }
    assert.equal((await app.request("/v1/accounts/a5?x=1")).status, 400);
    assert.equal((await app.request("/v1/accounts/a5/events?after=1.5")).status, 400);
    assert.equal((await app.request("/v1/accounts/a5/events/1?wait=61")).status, 400);
    for (const seq of ["0", "99", "x", "-1", "1e3", "9".repeat(30)]) {
      const response = await app.request(`/v1/accounts/a5/events/${seq}`);
      assert.deepEqual(
        [response.status, ((await response.json()) as { code: string }).code],
        [404, "event_not_found"],
        seq,
      );
    }
  }),
);

test(
  "a page of large events ends early and says where to go on; metadata and data come as they were stored",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    const random = (bytes: number) =>
      JSON.stringify(Buffer.from(crypto.getRandomValues(new Uint8Array(bytes))).toString("base64"));
    const large = Array.from({ length: 30 }, () =>
      newEvent({ accountId: "a", data: random(60_000), metadata: '{"n": 1.0}' }),
    );
    await appendEvents(db.database, large);
    const seqs: number[] = [];
    let pages = 0;
    for (let after: number | null = 0; after !== null; pages++) {
      const text: string = await (await app.request(`/v1/accounts/a/events?after=${after}`)).text();
      assert.ok(text.length < 3_000_000);
      assert.ok(text.includes('"metadata":{"n": 1.0},"data":'));
      const page = JSON.parse(text) as { events: { seq: number }[]; next: number | null };
      seqs.push(...page.events.map((event) => event.seq));
      after = page.next;
    }
    assert.deepEqual(
      seqs,
      Array.from({ length: 30 }, (_, i) => i + 1),
    );
    assert.ok(pages > 1 && pages < 6, `${pages} pages`);
    const one = (await (await app.request("/v1/accounts/a/events/7")).json()) as { seq: number; receivedAt: string };
    assert.equal(one.seq, 7);
    assert.match(one.receivedAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d$/);
  }),
);

test(
  "who waits for an event is answered when it is settled, or as it is when the time is up, the sender gone, or the server stops",
  withDatabase(async (db) => {
    const log = createLog({ level: "silent", name: "test" });
    const api = await startApi({ settings: readSettings({ PORT: "0" }), databaseUrl: db.url, log });
    await appendEvents(db.database, [newEvent({ accountId: "a" }), newEvent({ accountId: "b" })]);
    const stateOf = async (path: string) =>
      ((await (await fetch(`${api.url}/v1/accounts/${path}`)).json()) as { state: string }).state;
    assert.equal(await stateOf("a/events/1?wait=1"), "pending");
    const settled = stateOf("a/events/1?wait=60");
    const stopped = stateOf("b/events/1?wait=60");
    await db.query("update inturn.events set outcome = 'processed', processed_at = now() where account_id = 'a'");
    await db.query("update inturn.accounts set state = 'idle', processed_seq = 1 where id = 'a'");
    assert.equal(await settled, "processed");
    assert.equal(await stateOf("a/events/1?wait=60"), "processed");
    await api.close();
    assert.equal(await stopped, "pending");
  }),
);

test(
  "a wait ends when its request is given up, and no more than a thousand wait",
  withDatabase(async (db) => {
    const waiting = new Waiting(db.database);
    const gone = new AbortController();
    const wait = async (signal?: AbortSignal) =>
      await waiting.untilSettled({ accountId: "a", seq: 1, ms: 60_000, signal });
    const waits = Array.from({ length: 1_000 }, () => wait(gone.signal));
    await assert.rejects(wait(), { code: "overloaded" });
    gone.abort();
    await Promise.all(waits);
    const last = wait();
    waiting.close();
    await last;
  }),
);

test(
  "on a large history pages are found by index",
  withDatabase(async (db) => {
    await db.query(
      `insert into inturn.accounts (id, last_seq, processed_seq, state)
       select 'account-' || n, 10, case when n % 100 = 0 then 9 else 10 end, case when n % 100 = 0 then 'scheduled' else 'idle' end
       from generate_series(1, 20000) as n`,
    );
    await db.query(
      `insert into inturn.events (account_id, seq, data, received_at)
       select a.id, seq, 'null', now() from inturn.accounts as a, generate_series(1, 10) as seq`,
    );
    await db.query("analyze inturn.accounts, inturn.events");
    const plans: string[] = [];
    const explaining = {
      query: async (text: string, values: unknown[]) => {
        const { rows } = await db.database.query<{ "QUERY PLAN": string }>(`explain ${text}`, values);
        plans.push(rows.map((row) => row["QUERY PLAN"]).join("\n"));
        return { rows: [] };
      },
    } as unknown as typeof db.database;
    const base = { states: [], prefixes: [], sort: "id", after: null, limit: 100 } as const;
    await listAccounts(explaining, base);
    await listAccounts(explaining, { ...base, after: { accountId: "account-5", pending: 0 } });
    await listAccounts(explaining, { ...base, prefixes: ["account-1"] });
    await listAccounts(explaining, { ...base, states: ["scheduled"] });
    await listAccounts(explaining, { ...base, sort: "pending" });
    const page = { accountId: "account-7", afterSeq: 3 };
    await findPage(explaining, { ...page, limit: 100 });
    await readPage(explaining, { ...page, lastSeq: 7, bytes: 0 });
    assert.equal(plans.length, 7);
    for (const plan of plans) assert.doesNotMatch(plan, /Seq Scan on (accounts|events)/, plan);
  }),
);

const MEGABYTE = 1_048_576;

/** Stores this many events of one account, each of so many bytes. They pack well. */
async function appendLarge(db: TestDatabase, accountId: string, events: number, bytes: number): Promise<void> {
  for (let i = 0; i < events; i++)
    await appendEvents(db.database, [newEvent({ accountId, data: JSON.stringify("x".repeat(bytes - 2)) })]);
}

test(
  "a page of events carries a megabyte of their text, however well it packs, or one event that is larger",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    await appendLarge(db, "a", 4, 0.4 * MEGABYTE);
    await appendLarge(db, "a", 2, 3 * MEGABYTE);
    const pages: number[][] = [];
    for (let next: number | null = 0; next !== null; ) {
      const response: Response = await app.request(`/v1/accounts/a/events?after=${next}`);
      const page = (await response.json()) as { events: { seq: number }[]; next: number | null };
      pages.push(page.events.map(({ seq }) => seq));
      next = page.next;
    }
    assert.deepEqual(pages, [[1, 2], [3, 4], [5], [6]]);
    const shown = await (await app.request("/accounts/a?after=4")).text();
    assert.ok(shown.length < 200_000, "the dashboard reads no more of a large event than it shows");
    assert.match(shown, /all 3,145,728 bytes/);
    const whole = await app.request("/accounts/a/events/5/data");
    assert.equal((await whole.text()).length, 3 * MEGABYTE);
  }),
);

/** Asks for something and reads none of the answer. */
async function askAndWait(url: string, path: string, key: string): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\n\r\n`);
  await once(socket, "readable");
  return socket;
}

test(
  "answers that nobody reads take the memory of who asked for them, and of nobody else",
  withDatabase(async (db) => {
    const settings = { ...readSettings({}), port: 0, apiKeys: ["slow", "other"].map((name) => name.padEnd(40, "x")) };
    const [slow = "", other = ""] = settings.apiKeys;
    const api = await startApi({ settings, databaseUrl: db.url, log: createLog({ level: "silent", name: "test" }) });
    try {
      await appendLarge(db, "a", 1, 16 * MEGABYTE);
      const path = "/v1/accounts/a/events/1";
      const sockets = await Promise.all([1, 2, 3, 4].map(() => askAndWait(api.url, path, slow)));
      const statusFor = async (key: string, of = path) => {
        const response = await fetch(api.url + of, { headers: { authorization: `Bearer ${key}` } });
        await response.arrayBuffer();
        return response.status;
      };
      assert.equal(await statusFor(slow), 503);
      assert.equal(await statusFor(slow, "/accounts/a/events/1/data"), 503);
      assert.equal(await statusFor(other), 200);
      for (const socket of sockets) socket.destroy();
      await until("the memory has come back", async () => (await statusFor(slow)) === 200);
    } finally {
      await api.close();
    }
  }),
);
