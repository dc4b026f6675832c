/**
 * What the statements of the engine and of the listings read among a hundred thousand accounts: by an index, and no more than they answer for.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { listAccounts } from "../src/db/accounts.ts";
import { claimAccounts } from "../src/db/claim.ts";
import { findPage, readPage } from "../src/db/event-pages.ts";
import { readBatches, readNextEvents } from "../src/db/events.ts";
import { giveBackLeases } from "../src/db/give-back.ts";
import { findLockedAccounts } from "../src/db/locked.ts";
import type { Database } from "../src/db/pool.ts";
import { readProcessedSeqs } from "../src/db/progress.ts";
import { pruneStep } from "../src/db/prune.ts";
import { reconcileOnce } from "../src/db/reconcile.ts";
import { findAccountsInDisorder } from "../src/db/results.ts";
import { settleEvents } from "../src/db/settle.ts";
import { recordStarts } from "../src/db/start.ts";
import { type DueLook, type DueMark, FIRST_DUE, wakeLost } from "../src/db/wake-ups.ts";
import { listHeldLeases, renewWorkerLease } from "../src/db/workers.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { createTestWorker, wellDone } from "./support/worker.ts";

/** How many accounts are in each state; all of them but the idle ones have one event that waits. */
const ACCOUNTS = { scheduled: 60_000, retrying: 15_000, blocked: 5_000, running: 1_000, idle: 15_000, paused: 4_000 };

/** Accounts in one statement. */
const BATCH = 100;

/** Fills the tables as a large installation would, in its hundredth thousand of accounts. */
async function fill(db: TestDatabase, workerId: string): Promise<void> {
  await db.query(
    `insert into inturn.accounts (id, last_seq, processed_seq, state, state_since, next_attempt_at, lease_worker, head_attempts, paused_at)
     select s.state || '-' || n, 2, case s.state when 'idle' then 2 else 1 end,
       case s.state when 'paused' then 'scheduled' else s.state end, now() - interval '1 hour' + n * interval '10 ms',
       case s.state when 'retrying' then now() + interval '1 hour' end, case s.state when 'running' then $2::uuid end, 0,
       case s.state when 'paused' then now() end
     from json_each_text($1::json) as s (state, accounts), generate_series(1, s.accounts::integer) as n`,
    [JSON.stringify(ACCOUNTS), workerId],
  );
  await db.query(
    `insert into inturn.events (account_id, seq, data, received_at, processed_at, outcome)
     select a.id, seq, '{}', now(), case when seq <= a.processed_seq then now() end, case when seq <= a.processed_seq then 'processed' end
     from inturn.accounts as a, generate_series(1, 2) as seq`,
  );
  await db.query(
    "insert into inturn.accounts (id, last_seq, processed_seq, state) values ('long', 10000, 10000, 'idle')",
  );
  await db.query(
    `insert into inturn.events (account_id, seq, data, received_at, processed_at, outcome)
     select 'long', seq, '{}', now(), now(), 'processed' from generate_series(1, 10000) as seq`,
  );
  await db.query(
    "insert into inturn.accounts (id, last_seq, processed_seq, state, lease_worker) values ('deep', 10000, 0, 'running', $1)",
    [workerId],
  );
  await db.query(
    "insert into inturn.events (account_id, seq, data, received_at) select 'deep', seq, '{}', now() from generate_series(1, 10000) as seq",
  );
  await db.query(
    `select inturn.wake(array_agg(a.id), array_agg(a.epoch), array_agg(coalesce(a.next_attempt_at, a.state_since)))
     from inturn.accounts as a where a.state in ('scheduled', 'retrying') and a.paused_at is null`,
  );
  await db.query("vacuum analyze inturn.accounts");
  await db.query("vacuum analyze inturn.events");
  await db.query("vacuum analyze graphile_worker._private_jobs");
}

/** What a statement read, by table. */
interface Reads {
  readonly table: string;
  readonly scanned: number;
  readonly byIndex: number;
}

const OF_TABLES = `
  select relname as table, coalesce(seq_tup_read, 0)::float8 as scanned, coalesce(idx_tup_fetch, 0)::float8 as "byIndex"
  from pg_stat_xact_user_tables where relname in ('accounts', 'events', '_private_jobs') order by 1`;

/** Runs statements in a transaction that is rolled back, and says what they read: PostgreSQL counts it, inside of functions too. */
async function readsOf(
  db: TestDatabase,
  plans: string,
  work: (database: Database) => Promise<unknown>,
): Promise<Reads[]> {
  const client = await db.database.connect();
  try {
    await client.query(`begin; set local plan_cache_mode = ${plans}`);
    const before = (await client.query<Reads>(OF_TABLES)).rows;
    await work(client as unknown as Database);
    const after = (await client.query<Reads>(OF_TABLES)).rows;
    return after.map(({ table, scanned, byIndex }, i) => ({
      table,
      scanned: scanned - (before[i]?.scanned ?? 0),
      byIndex: byIndex - (before[i]?.byIndex ?? 0),
    }));
  } finally {
    await client.query("rollback");
    client.release();
  }
}

test(
  "no statement of the engine scans a table, or reads accounts, events or jobs that it does not answer for",
  withDatabase(async (db) => {
    const { id: workerId } = await createTestWorker(db);
    await fill(db, workerId);
    const identity = {
      id: workerId,
      host: "test",
      pid: 1,
      concurrency: 10,
      lifeKey: null,
      graphilePool: null,
      pausesVersion: null,
      inHand: 0,
    };
    const named = (state: keyof typeof ACCOUNTS, offset = 0) =>
      Array.from({ length: BATCH }, (_, i) => `${state}-${offset + i + 1}`);
    const running = named("running").map((accountId) => ({ accountId, epoch: 0, seq: 2 }));
    const [batch, orphans] = [BATCH, ACCOUNTS.running + 1];
    // The most rows that each may read of accounts, events and jobs. One that writes a row reads it up to four times.
    const statements: Record<
      string,
      [(database: Database) => Promise<unknown>, accounts: number, events: number, jobs: number]
    > = {
      claim: [(d) => claimAccounts(d, workerId, named("scheduled", 30_000)), 4 * batch, 0, 0],
      read: [
        (d) =>
          readBatches(
            d,
            running.map(({ accountId }) => ({ accountId, afterSeq: 1 })),
            { eventsMax: 50, bytesMax: 1_000 },
          ),
        0,
        2 * batch,
        0,
      ],
      "read large events": [
        (d) =>
          readNextEvents(
            d,
            running.map(({ accountId }) => ({ accountId, afterSeq: 1 })),
          ),
        0,
        batch,
        0,
      ],
      "record starts": [(d) => recordStarts(d, running), 4 * batch, 0, 0],
      settle: [
        (d) =>
          settleEvents(
            d,
            running.map((event) => wellDone(event)),
          ),
        4 * batch,
        2 * batch,
        0,
      ],
      "settle several calls": [
        (d) => {
          const { calls, ...settlement } = wellDone({ accountId: "deep", epoch: 0, seq: BATCH });
          const earlier = Array.from({ length: BATCH }, (_, i) => ({ ...calls[0], fromSeq: i + 1, seq: i + 1 }));
          const [first = calls[0], ...others] = earlier;
          return settleEvents(d, [{ ...settlement, calls: [first, ...others] }]);
        },
        4,
        2 * batch,
        0,
      ],
      "give back": [
        (d) =>
          giveBackLeases(
            d,
            workerId,
            running.map((event) => ({ ...event, startedSeq: null, failure: null, forgives: false })),
          ),
        4 * batch,
        0,
        4 * batch,
      ],
      "find locked": [(d) => findLockedAccounts(d, named("scheduled")), 4 * batch, 0, 0],
      append: [
        (d) =>
          appendEvents(
            d,
            [...named("idle"), ...named("scheduled")].map((accountId) => newEvent({ accountId, data: "{}" })),
          ),
        16 * batch,
        0,
        4 * batch,
      ],
      renew: [(d) => renewWorkerLease(d, identity, 60_000), 0, 0, 0],
      reconcile: [(d) => reconcileOnce(d, { judges: true, sweeps: false }), 0, 0, 0],
      "reconcile with a sweep": [(d) => reconcileOnce(d, { judges: true }), orphans, 0, 0],
      "look for lost wake-ups": [(d) => wakeLost(d, FIRST_DUE), 2_000, 0, 2_000],
      "look further": [(d) => wakeLost(d, { dueUs: (Date.now() - 3_300_000) * 1_000, accountId: "" }), 2_000, 0, 2_000],
      "list leases": [(d) => listHeldLeases(d, workerId, 1_000), orphans, 0, 0],
      "list accounts": [
        (d) => listAccounts(d, { states: [], prefixes: [], sort: "id", after: null, limit: BATCH }),
        2 * batch,
        3 * batch,
        0,
      ],
      "list paused accounts": [
        (d) => listAccounts(d, { states: ["paused"], prefixes: [], sort: "id", after: null, limit: BATCH }),
        // PostgreSQL 15 looks one account ahead.
        2 * batch + 1,
        3 * batch,
        0,
      ],
      "check the order of a page": [(d) => findAccountsInDisorder(d, named("idle")), 3 * batch, 4 * batch, 0],
      "list events": [
        async (d) => {
          await findPage(d, { accountId: "long", afterSeq: 5_000, limit: BATCH });
          await readPage(d, { accountId: "long", afterSeq: 5_000, lastSeq: 5_000 + BATCH, bytes: 0 });
        },
        3 * batch,
        4 * batch,
        0,
      ],
      "wait for events": [(d) => readProcessedSeqs(d, named("scheduled")), batch, 0, 0],
      prune: [(d) => pruneStep(d, { afterAccountId: "running-1", keepDays: 1 }), 2_000, 1_000, 0],
    };
    for (const plans of ["force_custom_plan", "force_generic_plan"]) {
      for (const [name, [work, accounts, events, jobs]] of Object.entries(statements)) {
        const most: Record<string, number> = { accounts, events, _private_jobs: jobs };
        for (const { table, scanned, byIndex } of await readsOf(db, plans, work)) {
          assert.equal(scanned, 0, `${name} scans ${table} (${plans})`);
          assert.ok(
            byIndex <= (most[table] ?? 0),
            `${name} reads ${byIndex} rows of ${table}, not ${most[table]} (${plans})`,
          );
        }
      }
    }
  }),
);

test(
  "a takeover reads the accounts that it takes, and an unparking those whose time is up",
  withDatabase(async (db) => {
    const { id: workerId } = await createTestWorker(db);
    await fill(db, workerId);
    await db.query(
      "update inturn.accounts set lease_worker = gen_random_uuid() where id in ('running-7', 'running-8')",
    );
    await db.query(
      "update inturn.accounts set parked_until = now() - interval '1 s' where id in ('blocked-7', 'blocked-8', 'blocked-9')",
    );
    await db.query(
      "update inturn.accounts set parked_until = now() + interval '1 h' where id > 'blocked-97' and state = 'blocked'",
    );
    let reconciled: unknown;
    const reads = await readsOf(db, "auto", async (d) => {
      reconciled = await reconcileOnce(d, { judges: false });
    });
    assert.deepEqual(reconciled, { workersGone: 0, takenOver: 2, unparked: 3 });
    for (const { table, scanned, byIndex } of reads) {
      assert.equal(scanned, 0, table);
      assert.ok(byIndex <= ACCOUNTS.running + 50, `${byIndex} rows of ${table}`);
    }
  }),
);

test(
  "the wake-ups of 60,000 accounts that are due and have none are made good, each once, also when the last plans saw no jobs",
  withDatabase(async (db) => {
    const { id: workerId } = await createTestWorker(db);
    await fill(db, workerId);
    await db.query("truncate graphile_worker._private_jobs");
    const keys = { jobs: 0, keys: 0 };
    let looks = 0;
    const reads = await readsOf(db, "auto", async (database) => {
      for (let after: DueMark | null = FIRST_DUE; after !== null; looks++) {
        const look: DueLook | undefined = await wakeLost(database, after);
        after = look?.isFull === true ? look.last : null;
      }
      const { rows } = await database.query<typeof keys>(
        "select count(*)::integer as jobs, count(distinct key)::integer as keys from graphile_worker._private_jobs offset 0",
      );
      Object.assign(keys, rows[0]);
    });
    assert.equal(looks, ACCOUNTS.scheduled / 1_000 + 1);
    assert.deepEqual(keys, { jobs: ACCOUNTS.scheduled, keys: ACCOUNTS.scheduled });
    for (const { table, scanned, byIndex } of reads)
      assert.ok(scanned + byIndex <= 4 * ACCOUNTS.scheduled, `${scanned} and ${byIndex} rows of ${table}`);
  }),
);
