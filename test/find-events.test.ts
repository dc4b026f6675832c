/**
 * Finding events by what is known of them: exact, page by page, and never more work than is said.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { insertApiKey } from "../src/db/api-keys.ts";
import { type EventFilter, type EventPosition, FIRST_EVENT, findEvents } from "../src/db/find-events.ts";
import { createKey } from "../src/engine/access.ts";
import { createTestApp } from "./support/app.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { runProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

/** Three accounts with events of every state, one an hour. */
async function fill(db: TestDatabase): Promise<void> {
  await db.query(`
    insert into inturn.accounts (id, last_seq, processed_seq, state, head_error, head_attempts, next_attempt_at, dead, skipped, pruned_seq)
    values ('a', 6, 4, 'retrying', 'Error: connect ECONNREFUSED', 2, now() + interval '1 hour', 1, 1, 0),
      ('b', 5, 5, 'idle', null, 0, null, 0, 0, 0), ('tenant7/c', 8, 8, 'idle', null, 0, null, 1, 0, 4)`);
  await db.query(`
    insert into inturn.events (account_id, seq, event_id, type, data, received_at, processed_at, outcome, error)
    select a.id, seq, 'evt-' || seq, case when seq % 2 = 0 then 'pay.made' else 'mail.sent' end, '{}',
      timestamptz '2026-01-01Z' + seq * interval '1 hour', case when seq <= a.processed_seq then now() end, o.outcome,
      case o.outcome when 'dead' then 'Error: econnrefused by peer' when 'skipped' then 'not wanted' end
    from inturn.accounts as a, generate_series(1, a.last_seq) as seq
    cross join lateral (select case
      when seq > a.processed_seq then null when a.id = 'b' then 'processed' when seq = 2 then 'dead'
      when a.id = 'a' and seq = 3 then 'skipped' else 'processed' end as outcome) as o
    where a.pruned_seq < seq or seq = 2`);
}

const names = (events: readonly { accountId: string; seq: number }[]) =>
  events.map(({ accountId, seq }) => `${accountId}/${seq}`).join(" ");

test(
  "every filter finds exactly what fits it, page by page as in one",
  withDatabase(async (db) => {
    await fill(db);
    const at = (hour: number) => `2026-01-01T0${hour}:00:00Z`;
    const cases: [EventFilter, string][] = [
      [{ id: "evt-5" }, "a/5 b/5 tenant7/c/5"],
      [{ id: "evt-5", prefix: "t" }, "tenant7/c/5"],
      [{ id: "evt-5", type: "pay.*" }, ""],
      [{ id: "evt-4", type: "pay.*", prefix: "a" }, "a/4"],
      [{ error: "ECONNREFUSED" }, "a/2 a/5 tenant7/c/2"],
      [{ error: "%" }, ""],
      [{ state: "retrying" }, "a/5"],
      [{ state: "pending" }, "a/6"],
      [{ state: "skipped" }, "a/3"],
      [{ state: "dead", prefix: "tenant" }, "tenant7/c/2"],
      [{ type: "pay.made", prefix: "b" }, "b/2 b/4"],
      [{ receivedFrom: at(5), receivedTo: at(6) }, "a/5 a/6 b/5 tenant7/c/5 tenant7/c/6"],
      [{ receivedFrom: at(2), receivedTo: at(2) }, "a/2 b/2 tenant7/c/2"],
      [{ receivedTo: at(1) }, "a/1 b/1"],
      [{ receivedFrom: at(8) }, "tenant7/c/8"],
      [{ receivedFrom: at(9) }, ""],
      [{ prefix: "tenant7/c" }, "tenant7/c/2 tenant7/c/5 tenant7/c/6 tenant7/c/7 tenant7/c/8"],
      [{ prefix: "tenant7/cc" }, ""],
    ];
    for (const [filter, expected] of cases) {
      const whole = await findEvents(db.database, { filter, after: FIRST_EVENT, limit: 100 });
      assert.equal(names(whole.events), expected, JSON.stringify(filter));
      assert.equal(whole.next, null);
      const paged: string[] = [];
      for (let after: EventPosition | null = FIRST_EVENT; after !== null; ) {
        const page = await findEvents(db.database, { filter, after, limit: 1 });
        assert.ok(page.events.length <= 1);
        paged.push(...page.events.map(({ accountId, seq }) => `${accountId}/${seq}`));
        after = page.next;
      }
      assert.equal(paged.join(" "), expected, `page by page: ${JSON.stringify(filter)}`);
    }
    const [head] = (await findEvents(db.database, { filter: { state: "retrying" }, after: FIRST_EVENT, limit: 1 }))
      .events;
    assert.deepEqual([head?.error, head?.attempts], ["Error: connect ECONNREFUSED", 2]);
  }),
);

test(
  "a look ends after 20,000 accounts or events and says so; a time in a long account takes a few look-ups",
  withDatabase(async (db) => {
    await db.query("insert into inturn.accounts (id, last_seq, state) values ('a', 50000, 'scheduled')");
    await db.query(`
      insert into inturn.events (account_id, seq, event_id, data, received_at)
      select 'a', seq, 'evt-' || seq, '1', timestamptz '2026-01-01Z' + seq * interval '1 second' from generate_series(1, 50000) as seq`);
    await db.query(`
      insert into inturn.accounts (id, last_seq, state) select 'b' || lpad(n::text, 5, '0'), 1, 'scheduled' from generate_series(1, 20500) as n`);
    await db.query(`
      insert into inturn.events (account_id, seq, event_id, data, received_at)
      select id, 1, case when id = 'b20400' then 'needle' end, '1', '2026-01-01Z' from inturn.accounts where id <> 'a'`);
    const look = async (filter: EventFilter, after = FIRST_EVENT) =>
      await findEvents(db.database, { filter, after, limit: 10 });
    const first = await look({ type: "none" });
    assert.deepEqual(
      [first.accountsLooked, first.eventsLooked, first.next],
      [1, 20_000, { accountId: "a", seq: 20_000 }],
    );
    const byTime = await look({
      receivedFrom: "2026-01-01T12:00:00Z",
      receivedTo: "2026-01-01T12:00:02Z",
      prefix: "a",
    });
    assert.deepEqual([names(byTime.events), byTime.eventsLooked], ["a/43200 a/43201 a/43202", 3]);
    const byId = await look({ id: "needle" });
    assert.deepEqual([byId.events.length, byId.accountsLooked, byId.eventsLooked], [0, 20_000, 0]);
    const found = await look({ id: "needle" }, byId.next ?? FIRST_EVENT);
    assert.deepEqual([names(found.events), found.next], ["b20400/1", null]);
  }),
);

test(
  "events are found over HTTP, by a key within its accounts, on the page and on the command line",
  withDatabase(async (db) => {
    await fill(db);
    const app = createTestApp(db.database);
    const { id, key, hash } = createKey();
    const get = async (query: string, authorization?: string) => {
      const response = await app.request(`/v1/events?${query}`, {
        headers: authorization === undefined ? {} : { authorization },
      });
      const answer = (await response.json()) as {
        events: { accountId: string; seq: number }[];
        looked?: object;
        next?: string | null;
        code?: string;
      };
      return { status: response.status, ...answer };
    };
    const one = await get("id=evt-5&search=a");
    assert.deepEqual(one.events, [
      {
        accountId: "a",
        seq: 5,
        eventId: "evt-5",
        type: "mail.sent",
        receivedAt: "2026-01-01T05:00:00+00:00",
        startedAt: null,
        processedAt: null,
        attempts: 2,
        state: "retrying",
        waitMs: null,
        durationMs: null,
        error: "Error: connect ECONNREFUSED",
      },
    ]);
    assert.deepEqual([one.looked, one.next], [{ accounts: 1, events: 1 }, null]);
    const page = await get("type=pay.*&limit=2");
    assert.equal(names(page.events), "a/2 a/4");
    assert.equal(names((await get(`type=pay.*&limit=2&cursor=${String(page.next)}`)).events), "a/6 b/2");
    for (const bad of [
      "state=blocked",
      "limit=0",
      "cursor=x",
      "receivedFrom=yesterday",
      "id=",
      `id=${"x".repeat(256)}`,
      "unknown=1",
      "error=%00",
    ]) {
      const answer = await get(bad);
      assert.deepEqual([answer.status, answer.code], [400, "query_invalid"], bad);
    }
    const html = await (await app.request("/events?error=econn")).text();
    assert.match(html, /a<\/a>[^]*tenant7\/c<\/a>/);
    assert.match(html, /Looked at \d+ events of 3 accounts/);
    assert.match(await (await app.request("/events?state=nonsense&receivedFrom=x")).text(), /<h1>Events<\/h1>/);

    const environment = { DATABASE_URL: db.url };
    const found = await runProcess(["events", "--error", "econnrefused", "--search", "tenant"], environment);
    assert.match(found.stdout, /tenant7\/c +2 +evt-2 +pay\.made +dead +2026-01-01 02:00:00 +.*econnrefused by peer/);
    assert.match(found.stderr, /looked at \d+ events of 1 accounts/);
    const json = await runProcess(["events", "--id", "evt-5", "--json"], environment);
    assert.equal(names(JSON.parse(json.stdout) as { accountId: string; seq: number }[]), "a/5 b/5 tenant7/c/5");
    assert.equal((await runProcess(["events", "--state", "lost"], environment)).code, 2);

    const scopes = ["read"] as const;
    await insertApiKey(db.database, {
      id,
      name: "tenant",
      hash,
      scopes: [...scopes],
      accountPrefix: "tenant7/",
      eventsPerSecond: null,
    });
    await until("the key is known", async () => (await get("id=evt-5")).status === 401);
    const own = async (query: string) => names((await get(query, `Bearer ${key}`)).events);
    assert.equal(await own("id=evt-5"), "tenant7/c/5");
    assert.equal(await own("id=evt-5&search=t"), "tenant7/c/5");
    assert.equal(await own("id=evt-5&search=a"), "");
  }),
);
