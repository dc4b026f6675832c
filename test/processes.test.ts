/**
 * The parts as real processes. The witness is the recording handler's own table, not what the system says of itself.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import {
  countOverlaps,
  createEffects,
  oneTo,
  RECORDING_HANDLER,
  readEffects,
  seqsByAccount,
} from "./support/effects.ts";
import { startProcess, type TestProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

const GRAPHILE_WORKER = new URL("../node_modules/graphile-worker/dist/cli.js", import.meta.url).pathname;
const PROJECT = new URL("..", import.meta.url).pathname;

function environmentFor(db: TestDatabase, more: Record<string, string> = {}): Record<string, string> {
  return { DATABASE_URL: db.url, EFFECTS_URL: db.url, INTURN_HANDLER: RECORDING_HANDLER, ...more };
}

async function startWorkers(
  db: TestDatabase,
  count: number,
  more: Record<string, string> = {},
): Promise<TestProcess[]> {
  const workers = Array.from({ length: count }, () => startProcess(["work"], environmentFor(db, more)));
  await Promise.all(workers.map((worker) => worker.ready));
  return workers;
}

async function appendTo(db: TestDatabase, events: { accountId: string; data?: unknown }[]): Promise<void> {
  await db.query("select from inturn.append_events($1::text[], $2::json[])", [
    events.map((event) => event.accountId),
    events.map((event) => JSON.stringify(event.data ?? {})),
  ]);
}

async function untilProcessed(db: TestDatabase, withinMs?: number): Promise<void> {
  await until(
    "every event is processed",
    async () => {
      const [row] = await db.query<{ left: number }>(
        "select sum(last_seq - processed_seq) as left from inturn.accounts",
      );
      return Number(row?.left) === 0;
    },
    withinMs,
  );
}

test(
  "three worker processes share the load, and every account's handler calls are 1, 2, 3, … one at a time",
  withDatabase(async (db) => {
    await createEffects(db);
    const workers = await startWorkers(db, 3, { INTURN_CONCURRENCY: "20" });
    const accounts = Array.from({ length: 60 }, (_, i) => `account-${i}`);
    // The first event holds its place for a while, so that no worker can be quick enough to do the others' work.
    for (let round = 0; round < 10; round++) {
      await appendTo(
        db,
        accounts.flatMap((accountId, i) =>
          Array.from({ length: 1 + (i % 3) }, () => ({
            accountId,
            data: { ms: round === 0 ? 1_000 : (i * round) % 7 },
          })),
        ),
      );
    }
    await untilProcessed(db);
    const effects = await readEffects(db);
    assert.deepEqual(
      seqsByAccount(effects),
      Object.fromEntries(accounts.map((accountId, i) => [accountId, oneTo(10 * (1 + (i % 3)))])),
    );
    assert.equal(await countOverlaps(db), 0);
    assert.equal(new Set(effects.map((effect) => effect.pid)).size, 3);
    assert.deepEqual(await Promise.all(workers.map((worker) => worker.stop())), [0, 0, 0]);
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
    assert.deepEqual(await db.query("select * from graphile_worker.jobs"), []);
  }),
);

test(
  "2,000 single POSTs to one account over 50 connections, two servers and two workers: 1 … 2000, in order, no deadlock",
  withDatabase(async (db) => {
    await createEffects(db);
    const servers = [0, 1].map(() => startProcess(["serve", "--port", "0"], environmentFor(db)));
    const urls = (await Promise.all(servers.map((server) => server.ready))).map((ready) => ready.url ?? "");
    const workers = await startWorkers(db, 2);
    const seqs: number[] = [];
    let next = 0;
    const connection = async (_: unknown, i: number) => {
      while (next < 2_000) {
        const n = next++;
        const response = await fetch(`${urls[i % 2]}/v1/events`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ accountId: "one", data: { n } }),
        });
        assert.equal(response.status, 202);
        seqs.push(((await response.json()) as { seq: number }).seq);
      }
    };
    await Promise.all(Array.from({ length: 50 }, connection));
    assert.deepEqual(
      seqs.toSorted((a, b) => a - b),
      oneTo(2_000),
    );
    await untilProcessed(db);
    assert.deepEqual(seqsByAccount(await readEffects(db)), { one: oneTo(2_000) });
    assert.equal(await countOverlaps(db), 0);
    assert.deepEqual(await db.query("select deadlocks from pg_stat_database where datname = current_database()"), [
      { deadlocks: 0 },
    ]);
    assert.deepEqual(await Promise.all([...servers, ...workers].map((part) => part.stop())), [0, 0, 0, 0]);
  }),
);

test(
  "plain graphile-worker, from the project's root, handles what SQL appends, with no server running",
  withDatabase(async (db) => {
    await createEffects(db);
    const worker = startProcess([], environmentFor(db, { NODE_ENV: "" }), { script: GRAPHILE_WORKER, cwd: PROJECT });
    await db.query(`select * from inturn.append_event('a1', '{"n": 1}')`);
    await db.query(`select * from inturn.append_event('a1', '{"n": 2}')`);
    await untilProcessed(db);
    assert.deepEqual(seqsByAccount(await readEffects(db)), { a1: [1, 2] });
    await worker.stop();
    assert.deepEqual(await db.query("select * from inturn.workers"), [], "it signed off");
  }),
);

test(
  "told to stop, a worker finishes the event in hand, gives the account back and exits 0; another goes on at once",
  withDatabase(async (db) => {
    await createEffects(db);
    const [first] = await startWorkers(db, 1);
    await appendTo(
      db,
      [1_500, 10, 10, 10].map((ms) => ({ accountId: "a", data: { ms } })),
    );
    await until("the first event has started", async () => (await readEffects(db)).length === 1);
    assert.equal(await first?.stop(), 0);
    assert.deepEqual(
      (await readEffects(db)).map(({ seq, ended }) => [seq, ended]),
      [[1, true]],
    );
    assert.deepEqual(await db.query("select state, processed_seq, head_attempts from inturn.accounts"), [
      { state: "scheduled", processed_seq: 1, head_attempts: 0 },
    ]);
    const [second] = await startWorkers(db, 1);
    await untilProcessed(db);
    const effects = await readEffects(db);
    assert.deepEqual(seqsByAccount(effects), { a: [1, 2, 3, 4] });
    assert.ok(effects.every((effect) => effect.attempt === 1));
    assert.equal(await second?.stop(), 0);
  }),
);

test(
  "an event that outlasts the deadline of a stop is given up: exit 0, and the next worker starts it again as attempt 2",
  withDatabase(async (db) => {
    await createEffects(db);
    const [first] = await startWorkers(db, 1, { INTURN_SHUTDOWN_MS: "200" });
    await appendTo(db, [{ accountId: "a", data: { ms: 60_000 } }]);
    await until("it has started", async () => (await readEffects(db)).length === 1);
    assert.equal(await first?.stop(), 0);
    const [account] = await db.query("select state, head_attempts, epoch from inturn.accounts");
    assert.deepEqual(account, { state: "scheduled", head_attempts: 1, epoch: 1 });
    const [second] = await startWorkers(db, 1, { INTURN_SHUTDOWN_MS: "0" });
    await until("it has started again", async () => (await readEffects(db)).length === 2);
    assert.equal((await readEffects(db)).at(1)?.attempt, 2);
    assert.equal(await second?.stop(), 0);
  }),
);

test(
  "a killed worker's accounts are taken over long before its lease has run out, in order and by one worker",
  withDatabase(async (db) => {
    await createEffects(db);
    const lease = { INTURN_LEASE_MS: "600000" };
    const [doomed] = await startWorkers(db, 1, lease);
    await appendTo(db, [...[10, 3_000, 10].map((ms) => ({ accountId: "a", data: { ms } })), { accountId: "b" }]);
    await until("the second event has started", async () =>
      (await readEffects(db)).some(({ accountId, seq }) => accountId === "a" && seq === 2),
    );
    doomed?.child.kill("SIGKILL");
    const heirs = await startWorkers(db, 2, lease);
    await untilProcessed(db);
    const effects = (await readEffects(db)).filter((effect) => effect.accountId === "a");
    assert.deepEqual(
      effects.map(({ seq, epoch, attempt, ended }) => [seq, epoch, attempt, ended]),
      [
        [1, 1, 1, true],
        [2, 1, 1, false],
        [2, 2, 2, true],
        [3, 2, 1, true],
      ],
    );
    await Promise.all(heirs.map((heir) => heir.stop()));
  }),
);

test(
  "a stopped worker's accounts are taken over when its lease has run out; awake again it settles nothing and starts nothing old",
  withDatabase(async (db) => {
    await createEffects(db);
    const lease = { INTURN_LEASE_MS: "1000" };
    const [sleeper] = await startWorkers(db, 1, lease);
    await appendTo(
      db,
      [50, 700, 10, 10].map((ms) => ({ accountId: "a", data: { ms } })),
    );
    await until("the second event has started", async () => (await readEffects(db)).length === 2);
    sleeper?.child.kill("SIGSTOP");
    const [heir] = await startWorkers(db, 1, lease);
    await untilProcessed(db);
    await appendTo(db, [{ accountId: "a", data: { ms: 10 } }]);
    sleeper?.child.kill("SIGCONT");
    await untilProcessed(db);
    await until(
      "the sleeper has entered itself again",
      async () => (await db.query("select from inturn.workers")).length === 2,
    );
    assert.deepEqual(await Promise.all([sleeper?.stop(), heir?.stop()]), [0, 0]);
    const effects = await readEffects(db);
    // The sleeper's second event comes to its end, once more; only the heir's settle counts.
    assert.deepEqual(
      effects.map(({ seq, attempt }) => [seq, attempt]),
      [
        [1, 1],
        [2, 1],
        [2, 2],
        [3, 1],
        [4, 1],
        [5, 1],
      ],
    );
    assert.deepEqual(
      (await db.query<{ attempts: number }>("select attempts from inturn.event_results order by seq")).map(
        (row) => row.attempts,
      ),
      [1, 2, 1, 1, 1],
    );
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
  }),
);

test(
  "an account that somebody has locked holds up nobody else: not at the door, not in a worker; then it goes on by itself",
  withDatabase(async (db) => {
    await createEffects(db);
    const server = startProcess(["serve", "--port", "0"], environmentFor(db));
    const { url } = await server.ready;
    const [worker] = await startWorkers(db, 1);
    const post = async (accountId: string, ms = 0) => {
      const response = await fetch(`${url}/v1/events`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ accountId, data: { ms } }),
      });
      return [response.status, ((await response.json()) as { code?: string }).code];
    };
    // Two in all: one whose settle meets the lock, one whose claim does.
    await post("settling", 300);
    await until("it has started", async () => (await readEffects(db)).length === 1);
    const client = await db.database.connect();
    await client.query("begin");
    await client.query("insert into inturn.accounts (id) values ('claiming')");
    await client.query("select from inturn.accounts for update");
    const refused = Promise.all([post("settling"), post("claiming")]);
    const others = Array.from({ length: 30 }, (_, i) => `other-${i % 10}`);
    assert.deepEqual(
      await Promise.all(others.map((accountId) => post(accountId))),
      others.map(() => [202, undefined]),
    );
    await until("the others are processed", async () => {
      const [row] = await db.query<{ count: number }>(
        "select count(*) as count from inturn.event_results where state = 'processed'",
      );
      return row?.count === 30;
    });
    assert.deepEqual(await refused, [
      [503, "account_locked"],
      [503, "account_locked"],
    ]);
    await client.query("commit");
    client.release();
    assert.deepEqual(await Promise.all(["settling", "claiming"].map((accountId) => post(accountId))), [
      [202, undefined],
      [202, undefined],
    ]);
    await untilProcessed(db);
    const { settling, claiming } = seqsByAccount(await readEffects(db));
    assert.deepEqual({ settling, claiming }, { settling: [1, 2], claiming: [1] });
    assert.ok((await readEffects(db)).every((effect) => effect.attempt === 1));
    assert.deepEqual(await Promise.all([server.stop(), worker?.stop()]), [0, 0]);
  }),
);

test(
  "a failing handler holds up its own account only, and no later event overtakes",
  withDatabase(async (db) => {
    await createEffects(db);
    const workers = await startWorkers(db, 2, { INTURN_BACKOFF_MS: "50" });
    const accounts = ["a", "b", "c", "d"];
    const events = Array.from({ length: 40 }, (_, i) => ({
      accountId: accounts[i % 4] ?? "",
      data: { failures: i % 10 === 0 ? 2 : 0 },
    }));
    await appendTo(db, events);
    await untilProcessed(db);
    assert.deepEqual(seqsByAccount(await readEffects(db)), Object.fromEntries(accounts.map((id) => [id, oneTo(10)])));
    assert.equal(await countOverlaps(db), 0);
    await Promise.all(workers.map((worker) => worker.stop()));
  }),
);

test(
  "more accounts than places: everybody gets a turn, and a lost wake-up is healed",
  withDatabase(async (db) => {
    await createEffects(db);
    const [worker] = await startWorkers(db, 1, { INTURN_CONCURRENCY: "2" });
    await appendTo(
      db,
      Array.from({ length: 30 }, (_, i) => ({ accountId: `account-${i % 10}`, data: { ms: 20 } })),
    );
    await db.query("delete from graphile_worker._private_jobs where locked_at is null and key like 'account-7#%'");
    await untilProcessed(db);
    assert.deepEqual(Object.keys(seqsByAccount(await readEffects(db))).length, 10);
    assert.equal(await worker?.stop(), 0);
  }),
);

test(
  "an account whose stored events are damaged stops there and says why; the others go on",
  withDatabase(async (db) => {
    await createEffects(db);
    await appendTo(
      db,
      ["a", "a", "a", "b"].map((accountId) => ({ accountId })),
    );
    await db.query("delete from inturn.events where account_id = 'a' and seq = 2");
    const [worker] = await startWorkers(db, 1);
    const damaged = await until("the damage is told", async () => {
      const [row] = await db.query<{ state: string; processed: number; head_error: string | null }>(
        "select state, processed, head_error from inturn.account_results where account_id = 'a'",
      );
      return row?.state === "retrying" && row;
    });
    assert.equal(damaged.processed, 1);
    assert.match(damaged.head_error ?? "", /account a lacks seq 2/);
    await until("b is processed", async () =>
      (await readEffects(db)).some((effect) => effect.accountId === "b" && effect.ended),
    );
    assert.deepEqual(seqsByAccount(await readEffects(db)), { a: [1], b: [1] });
    assert.equal(await worker?.stop(), 0);
  }),
);

/** Makes the next completion of a graphile job fail, as when its connection is terminated. */
async function failOneCompletion(db: TestDatabase): Promise<void> {
  await db.query("create sequence public.completions");
  await db.query(`create function public.fail_once() returns trigger language plpgsql security definer as $$ begin
    if nextval('public.completions') = 1 then raise exception 'terminated' using errcode = '57P01'; end if; return null;
  end $$`);
  await db.query(`create trigger fail_once before delete on graphile_worker._private_jobs
    for each statement execute function public.fail_once()`);
}

for (const [name, start] of [
  ["work", (db: TestDatabase) => startProcess(["work"], environmentFor(db))],
  [
    "plain graphile-worker",
    (db: TestDatabase) => startProcess([], environmentFor(db), { script: GRAPHILE_WORKER, cwd: PROJECT }),
  ],
] as const) {
  test(
    `when graphile-worker gives up, ${name} keeps its process and what it has in hand, and goes on with another runner`,
    withDatabase(async (db) => {
      await createEffects(db);
      await failOneCompletion(db);
      const worker = start(db);
      await until("it is there", async () => (await db.query("select from inturn.workers")).length === 1);
      await appendTo(db, [{ accountId: "slow", data: { ms: 1_000 } }]);
      await until("the slow one has started", async () => (await readEffects(db)).length === 1);
      await appendTo(db, [{ accountId: "quick" }]);
      await until("a completion has failed", async () =>
        (await db.query<{ is_called: boolean }>("select is_called from public.completions")).some(
          (row) => row.is_called,
        ),
      );
      await appendTo(db, [{ accountId: "later" }, { accountId: "quick" }]);
      await untilProcessed(db);
      const effects = await readEffects(db);
      assert.deepEqual(seqsByAccount(effects), { quick: [1, 2], slow: [1], later: [1] });
      assert.deepEqual(
        [...new Set(effects.map(({ pid, attempt }) => [pid, attempt].join()))],
        [`${worker.child.pid},1`],
      );
      const ended = await worker.stop();
      if (name === "work") assert.equal(ended, 0);
      assert.deepEqual(await db.query("select * from inturn.workers"), []);
    }),
  );
}

test(
  "an account whose claim got lost with its answer is given back by the worker that unknowingly holds it",
  withDatabase(async (db) => {
    await createEffects(db);
    const [worker] = await startWorkers(db, 1);
    // As such a claim leaves it: running, held by a worker that lives and knows nothing of it.
    await db.query("insert into inturn.events (account_id, seq, data, received_at) values ('a', 1, '{}', now())");
    await db.query(`insert into inturn.accounts (id, last_seq, state, epoch, head_attempts, lease_worker, state_since)
      select 'a', 1, 'running', 1, 1, id, now() - interval '1 minute' from inturn.workers`);
    await untilProcessed(db);
    assert.deepEqual(
      (await readEffects(db)).map(({ seq, epoch, attempt }) => [seq, epoch, attempt]),
      [[1, 2, 1]],
    );
    assert.equal(await worker?.stop(), 0);
  }),
);
