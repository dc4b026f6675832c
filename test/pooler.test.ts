/**
 * Behind PgBouncer, with the address of PostgreSQL itself beside it: all that needs no session of its own goes through the pooler.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { createInturn, type HandlerContext, type HandlerEvent } from "../src/index.ts";
import { examine } from "../src/service/doctor.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { startPgBouncer, WITHOUT_PGBOUNCER } from "./support/pgbouncer.ts";
import { runProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

const POOL_SIZE = 5;

/** What a session of the pooler must not have from us, one row for each. */
const LEFT_BEHIND = `
  select name from pg_settings where source = 'session' and name not in ('application_name', 'client_encoding')
  union all select name from pg_prepared_statements
  union all select 'advisory lock' from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()
  union all select channel from pg_listening_channels() as channel`;

/** Its sessions, each asked by a client of its own at the same time. */
async function lookIntoSessions(url: string): Promise<unknown[]> {
  const clients = Array.from({ length: POOL_SIZE }, () => new pg.Client(url));
  await Promise.all(clients.map(async (client) => await client.connect()));
  await Promise.all(clients.map(async (client) => await client.query("begin")));
  const answers = await Promise.all(clients.map(async (client) => await client.query<object>(LEFT_BEHIND)));
  await Promise.all(clients.map(async (client) => await client.end()));
  return answers.flatMap(({ rows }) => rows);
}

async function withPooler(
  db: TestDatabase,
  mode: string,
  work: (route: { databaseUrl: string; directDatabaseUrl: string }) => Promise<void>,
): Promise<void> {
  const pooler = await startPgBouncer(db.url, [
    `pool_mode = ${mode}`,
    `default_pool_size = ${mode === "session" ? 60 : POOL_SIZE}`,
  ]);
  try {
    await work({ databaseUrl: pooler.url, directDatabaseUrl: db.url });
  } finally {
    pooler.stop();
  }
}

for (const mode of ["session", "transaction"]) {
  test(
    `PgBouncer in ${mode} mode: the demo, with killed workers, ends with zeros; doctor is content`,
    { skip: WITHOUT_PGBOUNCER },
    withDatabase(async (db) => {
      await withPooler(db, mode, async ({ databaseUrl, directDatabaseUrl }) => {
        const environment = { DATABASE_URL: databaseUrl, INTURN_DIRECT_DATABASE_URL: directDatabaseUrl };
        // A worker that has just been started takes nothing over yet: on a busy machine each must live for longer than that.
        const { code, stdout, stderr } = await runProcess(
          ["demo", "--events", "600", "--accounts", "60", "--handler-ms", "500", "--kill-every-ms", "3000", "--json"],
          environment,
        );
        assert.equal(code, 0, stderr);
        const { lost, duplicates, orderViolations, processed } = JSON.parse(stdout);
        assert.deepEqual([lost, duplicates, orderViolations, processed], [0, 0, 0, 600]);
        if (mode === "transaction") assert.deepEqual(await lookIntoSessions(databaseUrl), []);
        const findings = await examine(directDatabaseUrl, { poolerUrl: databaseUrl });
        const pooler = findings.find(({ check }) => check === "pooler");
        assert.match(`${pooler?.level} ${pooler?.found}`, /^ok the pooler at .* leads to the same database/);
      });
    }),
  );

  test(
    `PgBouncer in ${mode} mode: transactions of handlers commit or roll back with their events, and a locked account is told at once`,
    { skip: WITHOUT_PGBOUNCER },
    withDatabase(async (db) => {
      await db.query("create table effects (account_id text, seq bigint, attempt integer)");
      // What somebody has set for the whole database does not count.
      await db.query(
        `do $$ begin execute format('alter database %I set default_transaction_isolation = serializable', current_database()); end $$`,
      );
      const handler = async ({ accountId, seq }: HandlerEvent, { attempt, transaction }: HandlerContext) => {
        await transaction(async (client) => {
          await client.query("insert into effects values ($1, $2, $3)", [accountId, seq, attempt]);
          const { rows } = await client.query(
            "select current_setting('statement_timeout') as most, current_setting('transaction_isolation') as level",
          );
          assert.deepEqual(rows, [{ most: "30s", level: "read committed" }]);
          await client.query(
            "set search_path = pg_temp; create temporary table left_behind (); select pg_advisory_lock(1)",
          );
          if (seq === 2 && attempt === 1) throw new Error("once");
        });
      };
      await withPooler(db, mode, async (route) => {
        const inturn = createInturn({ ...route, handler, backoffMs: 1, logLevel: "silent", workerConnectionsMax: 20 });
        try {
          await inturn.startWorker();
          await inturn.append(Array.from({ length: 60 }, (_, i) => ({ accountId: `a${i % 20}`, data: i })));
          await until("all are settled", async () => (await inturn.status()).settled === 60);
          const effects = await db.query(
            "select account_id, seq, attempt from effects order by length(account_id), account_id, seq",
          );
          const expected = Array.from({ length: 60 }, (_, i) => ({
            account_id: `a${Math.floor(i / 3)}`,
            seq: (i % 3) + 1,
            attempt: i % 3 === 1 ? 2 : 1,
          }));
          assert.deepEqual(effects, expected);

          const locker = new pg.Client(db.url);
          await locker.connect();
          await locker.query("begin; select from inturn.accounts where id = 'a0' for update");
          await assert.rejects(inturn.operate({ verb: "skip", accountId: "a0" }), { code: "account_locked" });
          await locker.end();
        } finally {
          await inturn.stop();
        }
        if (mode === "transaction") assert.deepEqual(await lookIntoSessions(route.databaseUrl), []);
      });
    }),
  );
}

test(
  "addresses that lead to two databases are refused, as is one without its pooler",
  { skip: WITHOUT_PGBOUNCER },
  withDatabase(async (one) => {
    await withDatabase(async (two) => {
      await withPooler(one, "transaction", async ({ databaseUrl }) => {
        const environment = { DATABASE_URL: databaseUrl, INTURN_DIRECT_DATABASE_URL: two.url };
        const { code, stderr } = await runProcess(["status"], environment);
        assert.equal(code, 2);
        assert.match(stderr, /lead to two databases; they have to lead to one\. \[settings_invalid\]/);
      });
    })();
    const { stderr } = await runProcess(["status"], { DATABASE_URL: "", INTURN_DIRECT_DATABASE_URL: one.url });
    assert.match(stderr, /stands beside a DATABASE_URL that leads to a pooler/);
  }),
);
