/**
 * The client that a handler's transaction is given: it does what a client of `pg` does, as long as the transaction lasts,
 * and nothing that its handler does with it breaks the promise or reaches another account.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import pg from "pg";
import QueryStream from "pg-query-stream";
import { Permits } from "../src/db/permits.ts";
import { openDatabase, type TransactionClient } from "../src/db/pool.ts";
import { inTransaction } from "../src/db/transaction.ts";
import { verify } from "../src/demo/verify.ts";
import { createTransactions } from "../src/engine/transactions.ts";
import { runTurn } from "../src/engine/turn.ts";
import type { TurnOptions } from "../src/engine/turn-options.ts";
import { createLog } from "../src/log/log.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { accountRow, appendTo, createTestWorker, expireLease, rule, slowly } from "./support/worker.ts";

type Work = (client: TransactionClient) => unknown;

const INCREMENT = "insert into public.counters values ($1, 1) on conflict (id) do update set n = counters.n + 1";

const noLog = createLog({ level: "silent", name: "test" });

/** Runs a body with a worker whose transactions share one connection, opened as a worker opens it. */
function withOneConnection(
  body: (test: {
    db: TestDatabase;
    pool: pg.Pool;
    options: TurnOptions;
    handle: (accountId: string, work: Work) => Promise<Handled>;
    counters: () => Promise<Record<string, number>>;
  }) => Promise<void>,
): () => Promise<void> {
  return withDatabase(async (db) => {
    await db.query("create table public.counters (id text primary key, n integer not null)");
    const pool = openDatabase({ url: db.url, name: "inturn handler", connectionsMax: 1, onError: () => undefined });
    const { options } = await createTestWorker(db);
    const transactions = createTransactions(pool, { idleMsMax: 2_000, log: noLog });
    const counters = async () => {
      const rows = await db.query<{ id: string; n: number }>("select id, n from public.counters order by id");
      return Object.fromEntries(rows.map(({ id, n }) => [id, n]));
    };
    try {
      const turn = { ...options, transactions };
      await body({ db, pool, options: turn, counters, handle: (id, work) => handleOne(db, turn, id, work) });
    } finally {
      await pool.end();
    }
  });
}

interface Thrown {
  readonly code?: string;
  readonly message?: string;
  readonly cause?: { readonly code?: string };
}

/** What became of an event whose handler ran this work in its transaction. */
interface Handled {
  /** What the transaction was rejected with. */
  readonly error: Thrown | undefined;
  readonly result: unknown;
  readonly state: unknown;
  readonly processedSeq: unknown;
  readonly attempts: unknown;
  readonly headError: unknown;
}

/** Appends one event, and one behind it, and lets it be handled once. */
async function handleOne(db: TestDatabase, options: TurnOptions, accountId: string, work: Work): Promise<Handled> {
  let error: Handled["error"];
  let result: unknown;
  const handler: TurnOptions["handler"] = async (event, { transaction }) => {
    if (event.seq > 1) throw new Error("only the first one is of interest");
    result = await transaction(async (client) => await work(client)).catch((thrown: unknown) => {
      error = thrown as Thrown;
      throw thrown;
    });
  };
  await appendTo(db, accountId, accountId);
  await runTurn({ ...options, handler, ruleOf: slowly }, accountId);
  const row = await accountRow(db, accountId);
  const [account] = await db.query<{ head_error: string }>("select head_error from inturn.accounts where id = $1", [
    accountId,
  ]);
  const attempts = row?.["head_attempts"];
  return {
    error,
    result,
    state: row?.["state"],
    processedSeq: row?.["processed_seq"],
    attempts,
    headError: account?.head_error,
  };
}

test(
  "a query that was not awaited, and fails, takes the transaction with it: nothing is settled, and the attempt counts",
  withOneConnection(async ({ handle, counters }) => {
    const works: Record<string, Work> = {
      caught: async (client) => {
        await client.query(INCREMENT, ["caught"]);
        await client.query("select 1 / 0").catch(() => undefined);
      },
      "not awaited": async (client) => {
        await client.query(INCREMENT, ["not awaited"]);
        void client.query("select pg_sleep(0.05), 1 / (random() * 0)::integer").catch(() => undefined);
      },
      "with a callback": async (client) => {
        await client.query(INCREMENT, ["with a callback"]);
        client.query("select 1 / 0", () => undefined);
      },
      "not even caught": async (client) => {
        await client.query(INCREMENT, ["not even caught"]);
        void client.query("select 1 / 0");
      },
    };
    for (const [id, work] of Object.entries(works)) {
      const { error, state, processedSeq, attempts, headError } = await handle(id, work);
      const seen = { code: error?.code, cause: error?.cause?.code, state, processedSeq, attempts };
      assert.deepEqual(
        seen,
        { code: "transaction_aborted", cause: "22012", state: "retrying", processedSeq: 0, attempts: 1 },
        id,
      );
      assert.match(String(headError), /division by zero/, id);
    }
    assert.deepEqual(await counters(), {});
  }),
);

test(
  "a query that comes between the end of the work and the commit is refused, and takes the transaction with it",
  withOneConnection(async ({ handle, counters, db }) => {
    const { promise: late, resolve: tell } = Promise.withResolvers<unknown>();
    const { error, state, processedSeq, attempts } = await handle("a", async (client) => {
      await client.query(INCREMENT, ["a"]);
      setImmediate(() => void client.query("select 1 / 0").catch((refusal: { code: string }) => tell(refusal.code)));
    });
    assert.deepEqual(
      { code: error?.code, state, processedSeq, attempts, late: await late },
      { code: "transaction_ended", state: "retrying", processedSeq: 0, attempts: 1, late: "transaction_ended" },
    );
    assert.deepEqual(await counters(), {});
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
  }),
);

test(
  "a query that was not awaited, and goes well, ends before the settle",
  withOneConnection(async ({ handle, counters }) => {
    const { processedSeq } = await handle("a", (client) => {
      void client.query("select pg_sleep(0.05)");
      client.query(INCREMENT, ["a"], () => undefined);
    });
    assert.deepEqual([processedSeq, await counters()], [1, { a: 1 }]);
  }),
);

test(
  "once the work is over its client is dead, in whichever way it was kept, and a stranger's transaction is left alone",
  withOneConnection(async ({ handle, counters }) => {
    const calls: (() => Promise<unknown>)[] = [];
    await handle("a", (client) => {
      const query: (text: string, values: unknown[]) => Promise<unknown> = client.query.bind(client);
      const database = drizzle(client);
      calls.push(
        () => client.query(INCREMENT, ["stranger"]),
        () => query(INCREMENT, ["stranger"]),
        () => database.execute(sql`insert into public.counters values ('stranger', 1)`),
        () => new Promise((_, reject) => client.query("select 1 / 0", (error: Error) => reject(error))),
        () => new Promise((_, reject) => client.query("select 1 / $1", [0], (error: Error) => reject(error))),
        async () => client.query(new pg.Query("select 1 / 0")),
        async () => client.query(new QueryStream("select 1 / 0")),
        async () => client.escapeLiteral("a"),
        async () => client.release(),
      );
    });
    const { processedSeq, result } = await handle("b", async (client) => {
      await client.query(INCREMENT, ["b"]);
      const answers = await Promise.allSettled(calls.map((call) => call()));
      return answers.map((answer) => {
        const { code, cause } = (answer as PromiseRejectedResult).reason as {
          code?: string;
          cause?: { code?: string };
        };
        return code ?? cause?.code;
      });
    });
    assert.deepEqual(
      result,
      calls.map(() => "transaction_ended"),
    );
    assert.deepEqual([processedSeq, await counters()], [1, { b: 1 }]);
  }),
);

test(
  "who releases or ends the client of a transaction hears that it is not his to, and the transaction goes on",
  withOneConnection(async ({ handle, counters, pool }) => {
    const { result, processedSeq } = await handle("a", async (client) => {
      const calls = [
        async () => client.release(),
        async () => client.release(true),
        async () => await client.end(),
        async () => await client.connect(),
      ];
      const answers = await Promise.allSettled(calls.map((call) => call()));
      const codes = answers.map((answer) => ((answer as PromiseRejectedResult).reason as { code?: string }).code);
      await client.query(INCREMENT, ["a"]);
      return codes;
    });
    assert.deepEqual(result, Array<string>(4).fill("transaction_misused"));
    assert.deepEqual([processedSeq, await counters(), pool.totalCount], [1, { a: 1 }, 1]);
  }),
);

/** What a session shows of whoever had it before. */
const SESSION = `select current_user::text as "user", current_setting('search_path') as path, nullif(current_setting('app.tenant', true), '') as tenant,
  current_setting('statement_timeout') as timeout, current_setting('application_name') as name, current_setting('jit') as jit,
  current_setting('tcp_keepalives_idle') as keepalives,
  (select count(*)::integer from pg_prepared_statements) as prepared, (select count(*)::integer from pg_cursors where name <> '') as cursors,
  (select count(*)::integer from pg_listening_channels()) as channels, to_regclass('pg_temp.leftover')::text as temporary,
  (select count(*)::integer from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks`;

/** Leaves behind everything that a session can hold. */
async function litter(client: TransactionClient, role: string): Promise<void> {
  await client.query("set app.tenant = 'first'; set search_path = evil; set statement_timeout = 1234; set jit = on");
  await client.query("prepare by_hand as select 1; declare held cursor with hold for select 1; listen channel");
  await client.query("create temporary table leftover (n integer); select pg_advisory_lock(42)");
  await client.query(`select nextval('public.numbers'); set application_name = 'mine'; set role ${role}`);
  await client.query({ name: "named", text: "select 'first'" });
  client.on("notice", () => assert.fail("a listener was left behind"));
}

test(
  "what a handler leaves behind in its session reaches no other account, whether its transaction went well or not",
  withOneConnection(async ({ db, handle, pool }) => {
    const role = `stranger_${process.pid}`;
    const [owner] = await db.query("select current_user::text as name");
    await db.query(`create role ${role}; create schema evil; create sequence public.numbers`);
    await db.query(`grant all on schema evil, public, inturn, graphile_worker to ${role}`);
    await db.query(
      `grant all on all tables in schema inturn to ${role}; grant all on sequence public.numbers to ${role}`,
    );
    await db.query(`grant execute on all functions in schema inturn to ${role}`);
    const look = async (client: TransactionClient) => {
      const { rows } = await client.query<Record<string, unknown>>(SESSION);
      await client.query("do $$ begin raise notice 'heard by nobody'; end $$");
      await client.query("savepoint before; select 1");
      const lastval = await client.query("select lastval()").catch((error: { code: string }) => error.code);
      await client.query("rollback to savepoint before");
      const { rows: named } = await client.query({ name: "named", text: "select 'second' as whose" });
      return { ...rows[0], lastval, named };
    };
    const clean = {
      user: owner?.["name"],
      path: '"$user", public',
      tenant: null,
      timeout: "30s",
      name: "inturn handler",
      jit: "off",
      keepalives: "10",
      prepared: 0,
      cursors: 0,
      channels: 0,
      temporary: null,
      locks: 0,
      lastval: "55000",
      named: [{ whose: "second" }],
    };
    try {
      assert.deepEqual((await handle("before", look)).result, clean);
      const first = await handle("first", (client) => litter(client, role));
      assert.deepEqual([first.error, first.processedSeq], [undefined, 1]);
      // What others could see of it is gone as well, before anybody uses the connection again.
      assert.deepEqual(await db.query("select pid from pg_locks where locktype = 'advisory' and objid = 42"), []);
      assert.deepEqual((await handle("second", look)).result, clean);
      const failed = await handle("failed", async (client) => {
        await litter(client, role);
        throw new Error("no");
      });
      assert.equal(failed.error?.message, "no");
      assert.deepEqual((await handle("third", look)).result, clean);
      // What cannot be reset ends with its connection.
      const parsed = await handle("parsed", async (client) => {
        client.setTypeParser(pg.types.builtins.TEXT, () => "as the first one wishes");
        return (await client.query("select 'text'::text as text")).rows;
      });
      assert.deepEqual([parsed.result, pool.totalCount], [[{ text: "as the first one wishes" }], 0]);
    } finally {
      await db.query(`drop owned by ${role}; drop role ${role}`);
    }
  }),
);

test(
  "a session that was only used is used again: resetting it costs no connection",
  withOneConnection(async ({ handle }) => {
    const pids: unknown[] = [];
    for (const id of ["a", "b", "c"]) {
      const { result } = await handle(id, async (client) => {
        await client.query("set app.tenant = 'me'");
        return (await client.query<{ pid: number }>("select pg_backend_pid() as pid")).rows[0]?.pid;
      });
      pids.push(result);
    }
    assert.equal(new Set(pids).size, 1);
  }),
);

test(
  "the client does what a client of pg does: every form of query, streams, drizzle, notices",
  withOneConnection(async ({ handle }) => {
    const { result, processedSeq, error } = await handle("a", async (client) => {
      const seen: unknown[] = [];
      seen.push((await client.query("select 1 as n")).rows);
      seen.push((await client.query("select $1::integer as n", [2])).rows);
      seen.push((await client.query({ text: "select $1::integer", values: [3], rowMode: "array" })).rows);
      seen.push((await client.query({ text: "select $1::integer as n" }, [4])).rows);
      seen.push((await client.query({ name: "five", text: "select 5 as n" })).rows);
      const called = await new Promise<pg.QueryResult>((resolve, reject) =>
        client.query("select 6 as n", (failure: Error | null, answer: pg.QueryResult) =>
          failure === null ? resolve(answer) : reject(failure),
        ),
      );
      seen.push(called.rows);
      const calledWith = await new Promise<pg.QueryResult>((resolve, reject) =>
        client.query("select $1::integer as n", [7], (failure: Error | null, answer: pg.QueryResult) =>
          failure === null ? resolve(answer) : reject(failure),
        ),
      );
      seen.push(calledWith.rows);
      const events: unknown[] = [];
      const query = client.query(new pg.Query("select 8 as n"));
      query.on("row", (row) => events.push(row));
      await new Promise((resolve) => query.on("end", resolve));
      seen.push(events);
      const streamed: unknown[] = [];
      for await (const row of client.query(new QueryStream("select generate_series(9, 11) as n", [], { batchSize: 2 })))
        streamed.push(row);
      seen.push(streamed);
      for await (const row of client.query(
        new QueryStream("select generate_series(12, 99) as n", [], { batchSize: 2 }),
      )) {
        seen.push(row);
        break;
      }
      seen.push((await drizzle(client).execute(sql`select ${13}::integer as n`)).rows);
      seen.push(client.escapeIdentifier('a"b'), client.escapeLiteral("it's"));
      const notices: (string | undefined)[] = [];
      assert.equal(
        client.on("notice", ({ message }) => notices.push(message)),
        client,
      );
      await client.query("do $$ begin raise notice 'heard'; end $$");
      seen.push(notices, client instanceof pg.Client);
      await client.query("savepoint mine");
      await client.query("select 1 / 0").catch(() => undefined);
      await client.query("rollback to savepoint mine; release savepoint mine");
      return seen;
    });
    assert.equal(error, undefined);
    assert.deepEqual(result, [
      [{ n: 1 }],
      [{ n: 2 }],
      [[3]],
      [{ n: 4 }],
      [{ n: 5 }],
      [{ n: 6 }],
      [{ n: 7 }],
      [{ n: 8 }],
      [{ n: 9 }, { n: 10 }, { n: 11 }],
      { n: 12 },
      [{ n: 13 }],
      '"a""b"',
      "'it''s'",
      ["heard"],
      true,
    ]);
    assert.equal(processedSeq, 1);
  }),
);

test(
  "a stream that is left open fails its transaction instead of holding the connection for ever",
  withOneConnection(async ({ handle, counters }) => {
    const { error, processedSeq } = await handle("a", async (client) => {
      await client.query(INCREMENT, ["a"]);
      const stream = client.query(new QueryStream("select generate_series(1, 99)", [], { batchSize: 1 }));
      stream.on("error", () => undefined);
      await new Promise((resolve) => stream.once("data", () => resolve(stream.pause())));
    });
    assert.deepEqual([error?.code, processedSeq, await counters()], ["transaction_aborted", 0, {}]);
    const { processedSeq: next } = await handle("b", async (client) => await client.query(INCREMENT, ["b"]));
    assert.deepEqual([next, await counters()], [1, { b: 1 }]);
  }),
);

/** Every way to get hold of the transaction itself. Those of the second kind look harmless to whoever reads only their beginning. */
const CONTROLS: readonly string[] = [
  "commit",
  "rollback",
  "COMMIT;",
  "  end transaction",
  "abort",
  "/* why */ commit -- now",
  "-- why\ncommit",
  "commit and chain",
  "rollback and chain",
  "begin; select 1; commit",
  "prepare transaction 'mine'",
  "start transaction isolation level serializable",
  "select 1; commit",
  "select 1; rollback",
  "select 1; commit; begin",
  "select 1; rollback; begin",
  "select 1; commit and chain",
  "reset all; commit; begin",
  "reset all",
];

for (const control of CONTROLS) {
  test(
    `nothing is settled when the work sends: ${JSON.stringify(control)}`,
    withOneConnection(async ({ handle, db }) => {
      const { error, state, processedSeq, attempts, headError } = await handle("a", async (client) => {
        // What it says is of no interest to this handler.
        await client.query(control).catch(() => undefined);
        await client.query(INCREMENT, ["a"]).catch(() => undefined);
      });
      assert.deepEqual(
        { code: error?.code, state, processedSeq, attempts },
        { code: "transaction_misused", state: "retrying", processedSeq: 0, attempts: 1 },
      );
      assert.match(String(headError), /commit|rollback/);
      assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
      const { processedSeq: next } = await handle("b", async (client) => await client.query(INCREMENT, ["b"]));
      assert.equal(next, 1);
    }),
  );
}

test(
  "PostgreSQL itself refuses a commit inside a block or a procedure, and its transaction fails",
  withOneConnection(async ({ handle, db, counters }) => {
    await db.query("create procedure public.committing() language plpgsql as 'begin commit; end'");
    for (const [id, hidden] of Object.entries({
      block: "do 'begin commit; end'",
      procedure: "call public.committing()",
    })) {
      const { error, processedSeq } = await handle(id, async (client) => {
        await client.query(INCREMENT, [id]);
        await client.query(hidden).catch(() => undefined);
      });
      assert.deepEqual([error?.code, error?.cause?.code, processedSeq], ["transaction_aborted", "2D000", 0], id);
    }
    assert.deepEqual(await counters(), {});
  }),
);

test(
  "a commit that PostgreSQL answers with ROLLBACK is no success, whoever has broken the transaction",
  withOneConnection(async ({ pool, counters }) => {
    const options = { permits: new Permits(1), idleMsMax: 2_000, onLate: () => undefined };
    const broken = inTransaction(pool, options, {
      work: async (client) => void (await client.query(INCREMENT, ["a"])),
      finish: async (client) => void (await client.query("select 1 / 0").catch(() => undefined)),
    });
    await assert.rejects(broken, (error: { code: string; cause: { code: string } }) => {
      assert.deepEqual([error.code, error.cause.code], ["transaction_aborted", "22012"]);
      return true;
    });
    assert.deepEqual([await counters(), pool.totalCount], [{}, 1]);
  }),
);

test(
  "transactions inside the transaction are savepoints, drizzle's and those by hand, at any depth",
  withOneConnection(async ({ handle, counters }) => {
    const { error, processedSeq } = await handle("a", async (client) => {
      const database = drizzle(client);
      const raise = (id: string) =>
        sql`insert into public.counters values (${id}, 1) on conflict (id) do update set n = counters.n + 1`;
      await database.execute(raise("outer"));
      await database.transaction(async (inner) => {
        await inner.execute(raise("inner"));
        await database.transaction(async (innermost) => await innermost.execute(raise("innermost")));
        const failing = database.transaction(async (undone) => {
          await undone.execute(raise("undone"));
          await undone.execute(sql`select 1 / 0`);
        });
        await assert.rejects(failing);
        await inner.transaction(async (nested) => await nested.execute(raise("nested")));
      });
      await assert.rejects(
        database.transaction(async (undone) => {
          await undone.execute(raise("undone"));
          throw new Error("no");
        }),
      );
      await client.query("BEGIN");
      await client.query(INCREMENT, ["undone"]);
      await client.query("Rollback Work;");
      await client.query("start transaction");
      await client.query(INCREMENT, ["by hand"]);
      await client.query("end");
    });
    assert.equal(error, undefined);
    assert.equal(processedSeq, 1);
    assert.deepEqual(await counters(), { "by hand": 1, inner: 1, innermost: 1, nested: 1, outer: 1 });
  }),
);

test(
  "a transaction inside the transaction that is never ended, or wants an isolation of its own, settles nothing",
  withOneConnection(async ({ handle, counters }) => {
    const works: Record<string, Work> = {
      open: async (client) => {
        await client.query("begin");
        await client.query(INCREMENT, ["open"]);
      },
      isolated: async (client) =>
        await drizzle(client).transaction(async (inner) => await inner.execute(sql`select 1`), {
          isolationLevel: "serializable",
        }),
    };
    for (const [id, work] of Object.entries(works)) {
      const { error, processedSeq } = await handle(id, work);
      const { code, cause } = error ?? {};
      assert.deepEqual([code ?? cause?.code, processedSeq], ["transaction_misused", 0], id);
    }
    assert.deepEqual(await counters(), {});
  }),
);

test(
  "verify sees an event that was handled before its predecessor was settled, also after both are",
  withOneConnection(async ({ db, options, handle }) => {
    // A settle that says so and is undone: what a commit is whose answer nobody looks at.
    const lying: TurnOptions["transactions"] = {
      settleWith: async (settlementOf, work) => {
        const { accountId, epoch, seq } = settlementOf();
        if (seq > 1) return await options.transactions.settleWith(settlementOf, work);
        return { result: await work({} as never), settled: { accountId, epoch, state: "running", databaseUs: 0 } };
      },
    };
    const settling: TurnOptions["handler"] = async (_event, { transaction }) =>
      await transaction(async () => undefined);
    const ends: Record<string, TurnOptions["handler"]> = {
      "in a transaction": settling,
      plain: async (event, context) => (event.seq === 1 ? await settling(event, context) : undefined),
      failing: async (event, context) => {
        if (event.seq > 1) throw new Error("no");
        await settling(event, context);
      },
    };
    for (const [id, handler] of Object.entries(ends)) {
      await appendTo(db, id, id, id);
      await runTurn({ ...options, transactions: lying, handler }, id);
      assert.equal((await accountRow(db, id))?.["processed_seq"], 0, id);
      assert.equal((await verify(db.database)).overlaps, 1, `${id}, before`);
      // It is taken from its worker, and handled as it should be.
      const worker = await createTestWorker(db);
      await db.query(
        "update inturn.accounts set state = 'scheduled', lease_worker = null, next_attempt_at = null where id = $1 and state <> 'idle'",
        [id],
      );
      await runTurn({ ...worker.options, handler: () => undefined, ruleOf: () => rule }, id);
      assert.equal((await accountRow(db, id))?.["processed_seq"], 3, id);
      const { overlaps, orderViolations, examples } = await verify(db.database);
      assert.deepEqual([overlaps, orderViolations, examples[0]?.seq], [1, 0, 2], `${id}, after`);
      await db.query("delete from inturn.events");
      await db.query("delete from inturn.accounts");
    }
    // A lease that was lost is none of that: its heir settles.
    const heir = await createTestWorker(db);
    await appendTo(db, "heir", "heir");
    await runTurn(
      {
        ...options,
        handler: async () => {
          await expireLease(db, heir.id);
          await db.query("update inturn.accounts set epoch = epoch + 1 where id = 'heir'");
        },
      },
      "heir",
    );
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
    await handle("good", async (client) => await client.query(INCREMENT, ["good"]));
    assert.equal((await verify(db.database)).overlaps, 0);
  }),
);
