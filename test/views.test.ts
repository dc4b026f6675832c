import assert from "node:assert/strict";
import { test } from "node:test";
import { type TestDatabase, withDatabase } from "./support/database.ts";

const CONTRACT: Record<string, string> = {
  event_results:
    "account_id, seq, event_id, type, data, received_at, started_at, processed_at, attempts, state, wait_ms, duration_ms",
  account_results:
    "account_id, state, events, processed, pending, dead, head_seq, head_attempts, head_error, first_received_at, last_processed_at, oldest_pending_seconds, blocked_since, waits_for",
  order_violations: "account_id, seq, kind, detail",
  failed_attempts: "account_id, seq, attempt, started_at, ended_at, next, error, worker_id",
  operation_status: "id, verb, filter, state, matched, tried, done, left_out, rate, who, why, created_at, ended_at",
  target_status:
    "target, state, away_since, reason, next_probe_at, failed_probes, probe_account, by_hand, waiting_accounts, waiting_events",
  pause_status: "id, covers, value, since, until, who, why, rate, accounts, events",
  throughput: "second, received, processed",
  run_summary:
    "events, accounts, processed, first_received_at, last_processed_at, makespan_seconds, ideal_seconds, efficiency",
};

/** Three settled events of one account and one that waits, as a worker would have left them. */
async function writeHistory(db: TestDatabase): Promise<void> {
  await db.query(`insert into inturn.accounts (id, last_seq, processed_seq, state) values ('a', 4, 3, 'scheduled')`);
  await db.query(
    `insert into inturn.events (account_id, seq, data, received_at, started_at, processed_at, duration_ms, attempts, outcome)
     select 'a', n, '{}', '2026-01-01 00:00:00Z', timestamptz '2026-01-01 00:00:00Z' + n * interval '1 second',
       timestamptz '2026-01-01 00:00:00.9Z' + n * interval '1 second', 900, 1, 'processed'
     from generate_series(1, 3) as n`,
  );
  await db.query(
    `insert into inturn.events (account_id, seq, data, received_at) values ('a', 4, '{}', '2026-01-01 00:00:00Z')`,
  );
}

test(
  "the views have the columns of the contract, in their order",
  withDatabase(async (db) => {
    for (const [view, columns] of Object.entries(CONTRACT)) {
      const rows = await db.query<{ name: string }>(
        `select attname as name from pg_attribute
         where attrelid = ('inturn.' || $1)::regclass and attnum > 0 order by attnum`,
        [view],
      );
      assert.equal(rows.map((row) => row.name).join(", "), columns, view);
    }
  }),
);

test(
  "on an empty database the summary is one row of zeros",
  withDatabase(async (db) => {
    const rows = await db.query(
      "select events, accounts, processed, makespan_seconds, efficiency from inturn.run_summary",
    );
    assert.deepEqual(rows, [{ events: 0, accounts: 0, processed: 0, makespan_seconds: null, efficiency: null }]);
  }),
);

test(
  "the summary's floor is the longest account's handler time, its makespan first received to last processed",
  withDatabase(async (db) => {
    await writeHistory(db);
    const [summary] = await db.query("select * from inturn.run_summary");
    assert.equal(summary?.["makespan_seconds"], 3.9);
    assert.equal(summary?.["ideal_seconds"], 2.7);
    assert.equal(summary?.["efficiency"], 2.7 / 3.9);
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
    const states = await db.query("select seq, state, wait_ms from inturn.event_results order by seq");
    assert.deepEqual(states.at(0), { seq: 1, state: "processed", wait_ms: 1_000 });
    assert.deepEqual(states.at(3), { seq: 4, state: "pending", wait_ms: null });
    const [account] = await db.query("select events, processed, pending, head_seq from inturn.account_results");
    assert.deepEqual(account, { events: 4, processed: 3, pending: 1, head_seq: 4 });
  }),
);

/** Each breach, and the kind that the view must call it. */
const BREACHES: [breach: string, kinds: string[]][] = [
  ["delete from inturn.events where seq = 2", ["gap", "gap"]],
  ["delete from inturn.events where seq = 4", ["gap"]],
  ["update inturn.events set started_at = started_at - interval '150 ms' where seq = 3", ["overlap"]],
  ["update inturn.events set processed_at = '2026-01-01 00:00:01Z' where seq = 3", ["settled_out_of_order"]],
  ["update inturn.events set outcome = null, processed_at = null where seq = 2", ["overlap", "settled_out_of_order"]],
  ["update inturn.events set outcome = 'processed', processed_at = now() where seq = 4", ["settled_out_of_order"]],
];

for (const [breach, kinds] of BREACHES) {
  test(
    `order_violations sees: ${breach}`,
    withDatabase(async (db) => {
      await writeHistory(db);
      await db.query(breach);
      const rows = await db.query<{ kind: string }>("select kind from inturn.order_violations order by kind");
      assert.deepEqual(
        rows.map((row) => row.kind),
        kinds,
      );
    }),
  );
}

test(
  "the database itself refuses an idle account with events left, and a second owner of a seq",
  withDatabase(async (db) => {
    await writeHistory(db);
    await assert.rejects(db.query("update inturn.accounts set state = 'idle'"), {
      constraint: "accounts_idle_has_no_pending",
    });
    await assert.rejects(db.query("update inturn.accounts set processed_seq = 5"), {
      constraint: "accounts_processed_not_ahead",
    });
    await assert.rejects(
      db.query("insert into inturn.events (account_id, seq, data, received_at) values ('a', 4, '{}', now())"),
      { constraint: "events_pk" },
    );
  }),
);
