/**
 * What the pages are made from: the pulse, the listings, the lanes, the live stream and the downloads.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { readSettings } from "../src/config/settings.ts";
import { listDeadLetters } from "../src/db/dead-letters.ts";
import { listLanes } from "../src/db/lanes.ts";
import type { Database } from "../src/db/pool.ts";
import { readPulse } from "../src/db/pulse.ts";
import { listUrgentAccounts, type UrgencySort } from "../src/db/urgent-accounts.ts";
import { listWorkers } from "../src/db/workers.ts";
import { PulseWatch } from "../src/engine/pulse.ts";
import { createLog } from "../src/log/log.ts";
import { startApi } from "../src/service/api.ts";
import { createTestApp } from "./support/app.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";

/** Accounts in every state, with what their rows and events say. Seconds are before now. */
async function fill(db: TestDatabase): Promise<void> {
  await db.query(`
    insert into inturn.accounts (id, last_seq, processed_seq, state, state_since, next_attempt_at, head_error, head_attempts, paused_at, dead, lease_worker)
    values
      ('blocked-new', 3, 1, 'blocked', now() - interval '1 minute', null, 'boom', 10, null, 0, null),
      ('blocked-old', 2, 1, 'blocked', now() - interval '9 minutes', null, 'boom', 10, null, 0, null),
      ('retrying', 5, 1, 'retrying', now() - interval '30 minutes', now() + interval '1 minute', 'oops', 2, null, 0, null),
      ('paused', 2, 2, 'idle', now() - interval '2 hours', null, null, 0, now() - interval '1 hour', 0, null),
      ('running', 4, 3, 'running', now() - interval '1 second', null, null, 1, null, 0, gen_random_uuid()),
      ('scheduled', 9, 1, 'scheduled', now() - interval '5 seconds', null, null, 0, null, 1, null),
      ('idle-old', 2, 2, 'idle', now() - interval '3 hours', null, null, 0, null, 0, null),
      ('idle-new', 2, 2, 'idle', now() - interval '1 second', null, null, 0, null, 0, null)`);
  // Received 100 s ago and one second apart; started 300 ms and settled 400 ms after the one before.
  await db.query(`
    insert into inturn.events (account_id, seq, data, received_at, started_at, processed_at, duration_ms, attempts, outcome)
    select a.id, seq, '1', now() - interval '100 s' + seq * interval '1 s',
      case when done then now() - interval '5 s' + (seq - 1) * interval '400 ms' + interval '300 ms' end,
      case when done then now() - interval '5 s' + seq * interval '400 ms' end, case when done then 100 end,
      case when done then 1 else 0 end,
      case when done then case when a.dead > 0 then 'dead' else 'processed' end end
    from inturn.accounts as a, lateral generate_series(1, a.last_seq) as seq, lateral (select seq <= a.processed_seq as done) as d`);
}

test(
  "the pulse counts exactly: totals, states, the oldest event, and the waits of what was settled last",
  withDatabase(async (db) => {
    const empty = await readPulse(db.database);
    assert.deepEqual(
      { ...empty, atMs: 0, oldestSnapshotSeconds: 0 },
      {
        atMs: 0,
        received: 0,
        settled: 0,
        backlog: 0,
        oldestPendingSeconds: null,
        accounts: { idle: 0, scheduled: 0, running: 0, retrying: 0, blocked: 0, waiting: 0, paused: 0 },
        waitMs: null,
        oldestSnapshotSeconds: 0,
        orderViolations: 0,
        targets: [],
        pauses: [],
      },
    );
    await fill(db);
    const pulse = await readPulse(db.database);
    assert.deepEqual([pulse.received, pulse.settled, pulse.backlog, pulse.orderViolations], [29, 13, 16, 0]);
    assert.deepEqual(pulse.accounts, {
      idle: 2,
      scheduled: 1,
      running: 1,
      retrying: 1,
      blocked: 2,
      waiting: 0,
      paused: 1,
    });
    // Seq 2 of a blocked account, received 98 s before the accounts were made.
    assert.ok(Math.abs((pulse.oldestPendingSeconds ?? 0) - 98) < 5, `${pulse.oldestPendingSeconds} s`);
    assert.ok((pulse.waitMs?.p50 ?? 0) > 90_000);
    assert.ok(Math.abs(pulse.atMs - Date.now()) < 60_000);
    await db.query(
      "update inturn.events set started_at = processed_at - interval '1 hour' where account_id = 'running' and seq = 3",
    );
    assert.equal((await readPulse(db.database)).orderViolations, 1);
  }),
);

test(
  "a session that keeps a snapshot is seen by the pulse, and named by the query of the docs",
  withDatabase(async (db) => {
    const docs = await readFile(new URL("../docs/metrics.md", import.meta.url), "utf8");
    const [, query = ""] = /```sql\n([^`]+)```/.exec(docs) ?? [];
    const named = async () => {
      const rows = await db.query<{ who: string }>(query.replace("30 seconds", "1 second").replace(/;\s*$/, ""));
      return rows.map(({ who }) => who);
    };
    const session = await db.database.connect();
    try {
      const { rows } = await session.query<{ pid: number }>("select pg_backend_pid() as pid");
      await session.query("begin");
      await session.query("select 1");
      await db.query("select pg_sleep(1.1)");
      assert.ok((await readPulse(db.database)).oldestSnapshotSeconds < 1, "between its statements it keeps none");
      await session.query("commit");
      await session.query("begin isolation level repeatable read");
      await session.query("select 1");
      await until("the pulse sees it", async () => (await readPulse(db.database)).oldestSnapshotSeconds > 1);
      assert.deepEqual(await named(), [`session ${rows[0]?.pid}`]);
      await session.query("rollback");
      await until("it is gone", async () => (await readPulse(db.database)).oldestSnapshotSeconds < 1);
      assert.deepEqual(await named(), []);
    } finally {
      session.release(true);
    }
  }),
);

test(
  "however many look on, the database is asked once; and again when a reading is due",
  withDatabase(async (db) => {
    const { database, texts } = watched(db.database);
    const watch = new PulseWatch(database);
    const [first, second] = await Promise.all([watch.latest(), watch.latest()]);
    assert.equal(first, second);
    assert.equal(await watch.latest(), first);
    assert.equal(texts.length, 7);
    const heard = new Promise((resolve) => watch.listen(resolve));
    const running = watch.run();
    const next = await heard;
    assert.notEqual(next, first);
    assert.equal(await watch.latest(), next);
    assert.deepEqual(watch.history, [first, next]);
    assert.equal(texts.length, 14);
    watch.close();
    await running;
  }),
);

test(
  "while nobody listens it reads seldom; who asks, or begins to listen, has a reading of now",
  withDatabase(async (db) => {
    const { database, texts } = watched(db.database);
    const watch = new PulseWatch(database);
    const running = watch.run();
    await until("it has read", () => watch.history.length === 1);
    await sleep(2_500);
    assert.equal(texts.length, 7);
    const [old] = watch.history;
    // It rests for four seconds at most.
    await until("the last reading is a new one", async () => (await watch.latest()) !== old, 2_000);
    const startedMs = performance.now();
    await new Promise((resolve) => watch.listen(resolve));
    assert.ok(performance.now() - startedMs < 2_500);
    assert.equal(watch.history.length, 3);
    watch.close();
    await running;
  }),
);

test(
  "the most urgent accounts come first, whatever is looked for, page by page",
  withDatabase(async (db) => {
    await fill(db);
    const list = async (
      sort: UrgencySort,
      options: { states?: []; prefix?: string; offset?: number; limit?: number } = {},
    ) => {
      const page = { states: [], prefix: "", offset: 0, limit: 100, ...options, sort };
      return (await listUrgentAccounts(db.database, page)).map(({ accountId }) => accountId);
    };
    const urgent = ["blocked-old", "blocked-new", "retrying", "paused", "running", "scheduled", "idle-new", "idle-old"];
    assert.deepEqual(await list("urgency"), urgent);
    const pages = await Promise.all([0, 3, 6, 9].map((offset) => list("urgency", { offset, limit: 3 })));
    assert.deepEqual(pages, [urgent.slice(0, 3), urgent.slice(3, 6), urgent.slice(6), []]);
    assert.deepEqual(await list("urgency", { prefix: "idle" }), ["idle-new", "idle-old"]);
    assert.deepEqual(await list("urgency", { states: ["retrying", "paused"] as unknown as [] }), [
      "retrying",
      "paused",
    ]);
    assert.deepEqual(await list("pending"), ["scheduled", "retrying", "blocked-new", "blocked-old", "running"]);
    const lag = await list("lag");
    assert.deepEqual(
      [lag.slice(0, 4).toSorted(), lag[4]],
      [["blocked-new", "blocked-old", "retrying", "scheduled"], "running"],
    );
    const [account] = await listUrgentAccounts(db.database, {
      states: ["retrying"],
      prefix: "",
      sort: "urgency",
      offset: 0,
      limit: 1,
    });
    assert.deepEqual(
      [account?.state, account?.events, account?.pending, account?.headSeq, account?.attempts, account?.error],
      ["retrying", 5, 4, 2, 2, "oops"],
    );
    assert.deepEqual(
      (await listDeadLetters(db.database, { afterAccountId: "", accountsMax: 10 })).map((letter) => [
        letter.accountId,
        letter.seq,
      ]),
      [["scheduled", 1]],
    );
  }),
);

test(
  "a lane holds its events in order, and the one in hand begins where the one before it ended",
  withDatabase(async (db) => {
    await fill(db);
    const { nowMs, lanes } = await listLanes(db.database, { lanesMax: 100, sinceMs: 0 });
    assert.equal(lanes.length, 8);
    for (const { accountId, bars } of lanes) {
      assert.deepEqual(
        bars.map(([seq]) => seq),
        bars.map((_, i) => i + 1),
        accountId,
      );
      for (const [i, [, received, started, settled]] of bars.entries()) {
        const before = bars[i - 1]?.[3] ?? 0;
        assert.ok(started === null || (started >= received && started >= before), `${accountId} ${i}`);
        assert.ok(settled === null || (started !== null && settled >= started && settled <= nowMs));
      }
    }
    const running = lanes.find(({ accountId }) => accountId === "running")?.bars ?? [];
    assert.deepEqual(running[3]?.slice(2), [running[2]?.[3], null, 1, null]);
    const busy = await listLanes(db.database, { lanesMax: 2, sinceMs: 0 });
    assert.deepEqual(
      busy.lanes.map(({ accountId }) => accountId),
      ["running", "scheduled"],
    );
  }),
);

test(
  "a live stream sends each reading to who looks on, and ends at once when the server stops",
  withDatabase(async (db) => {
    const log = createLog({ level: "silent", name: "test" });
    const api = await startApi({ settings: readSettings({ PORT: "0" }), databaseUrl: db.url, log });
    const streams = await Promise.all(Array.from({ length: 10 }, () => fetch(`${api.url}/live`)));
    const readers = streams.map((stream) => stream.body?.pipeThrough(new TextDecoderStream()).getReader());
    await appendEvents(db.database, [newEvent({ accountId: "seen-live" }), newEvent({ accountId: "seen-live" })]);
    for (const reader of readers) {
      let text = "";
      while (!/event: point\ndata: \[\[.*\n\n$/.test(text) || !/<dt>Backlog<\/dt><dd>2 /.test(text)) {
        text += (await reader?.read())?.value ?? assert.fail("the stream has ended");
      }
    }
    const startedMs = performance.now();
    await api.close();
    assert.ok(performance.now() - startedMs < 4_000);
    for (const reader of readers) while ((await reader?.read().catch(() => ({ done: true })))?.done === false);
  }),
);

test(
  "downloads hold every account, and a spreadsheet takes no id for a formula",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    assert.deepEqual(await (await app.request("/results.json")).json(), []);
    const ids = Array.from({ length: 2_001 }, (_, i) => `account-${String(i).padStart(4, "0")}`);
    const strange = ["=1+1", 'a "b", c', "@x"];
    for (const some of [ids.slice(0, 1_500), [...ids.slice(1_500), ...strange]]) {
      await appendEvents(
        db.database,
        some.map((accountId) => newEvent({ accountId })),
      );
    }
    const json = (await (await app.request("/results.json")).json()) as { account_id: string; pending: number }[];
    assert.deepEqual(
      json.map((account) => account.account_id),
      [...ids, ...strange].toSorted(),
    );
    assert.ok(json.every((account) => account.pending === 1));
    const csv = await app.request("/results.csv");
    assert.match(csv.headers.get("content-disposition") ?? "", /filename="inturn-results.csv"/);
    const lines = (await csv.text()).trimEnd().split("\n");
    assert.equal(lines.length, 1 + ids.length + strange.length);
    assert.match(lines[0] ?? "", /^account_id,state,events,/);
    for (const start of ["'=1+1,", "'@x,", '"a ""b"", c",']) {
      assert.equal(lines.filter((line) => line.startsWith(start)).length, 1, start);
    }
  }),
);

test(
  "what the overview and the accounts show is found by index among 20,000 accounts",
  withDatabase(async (db) => {
    await db.query(`
      insert into inturn.accounts (id, last_seq, processed_seq, state, state_since)
      select 'account-' || i, 3, case when i % 100 = 0 then 1 else 3 end, case when i % 100 = 0 then 'scheduled' else 'idle' end,
        now() - i * interval '1 second' from generate_series(1, 20000) as i`);
    await db.query(`
      insert into inturn.events (account_id, seq, data, received_at)
      select id, seq, '1', now() from inturn.accounts, generate_series(1, 3) as seq`);
    await db.query("analyze");
    const { database, texts } = watched(db.database);
    const page = { states: [], prefix: "", offset: 0, limit: 50 };
    for (const sort of ["urgency", "pending", "lag"] as const) await listUrgentAccounts(database, { ...page, sort });
    await listUrgentAccounts(database, { ...page, prefix: "account-77", sort: "urgency" });
    await listWorkers(database, 50);
    await listLanes(database, { lanesMax: 50, sinceMs: 0 });
    await listDeadLetters(database, { afterAccountId: "", accountsMax: 50 });
    await readPulse(database);
    assert.equal(texts.length, 15);
    for (const { text, values } of texts) {
      const rows = await db.query<{ "QUERY PLAN": string }>(`explain ${text}`, values);
      const plan = rows.map((row) => row["QUERY PLAN"]).join("\n");
      assert.doesNotMatch(plan, /Seq Scan on events/, `${text}\n${plan}`);
      // The totals alone read every account's row.
      if (!text.includes("group by 1")) assert.doesNotMatch(plan, /Seq Scan on accounts/, `${text}\n${plan}`);
    }
  }),
);

/** A database that keeps what it is asked. */
function watched(database: Database): { database: Database; texts: { text: string; values: unknown[] }[] } {
  const texts: { text: string; values: unknown[] }[] = [];
  const query = async (text: string, values: unknown[] = []) => {
    texts.push({ text, values });
    return await database.query(text, values);
  };
  const connect = async () => ({ query, release: () => undefined });
  return { database: { query, connect } as unknown as Database, texts };
}
