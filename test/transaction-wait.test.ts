/**
 * A worker has fewer connections for transactions than handlers: waiting for one is no fault of the event's.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Database, openDatabase } from "../src/db/pool.ts";
import { createTransactions } from "../src/engine/transactions.ts";
import { runTurn } from "../src/engine/turn.ts";
import type { TurnOptions } from "../src/engine/turn-options.ts";
import { createLog } from "../src/log/log.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";
import { appendTo, createTestWorker, slowly } from "./support/worker.ts";

const noLog = createLog({ level: "silent", name: "test" });

/** One attempt, and no more. */
const once = () => ({ ...slowly(), attemptsMax: 1 });

/** Runs a body with a worker whose transactions share one connection. */
function withOneConnection(
  body: (test: { db: TestDatabase; pool: Database; options: TurnOptions }) => Promise<void>,
  more: { idleMsMax?: number; url?: string } = {},
): () => Promise<void> {
  return withDatabase(async (db) => {
    const { idleMsMax = 10_000, url = db.url } = more;
    const pool = openDatabase({ url, name: "inturn handler", connectionsMax: 1, onError: () => undefined });
    const { options } = await createTestWorker(db);
    try {
      await body({
        db,
        pool,
        options: { ...options, transactions: createTransactions(pool, { idleMsMax, log: noLog }) },
      });
    } finally {
      await pool.end();
    }
  });
}

/** What the account's row says about its head. */
async function headOf(db: TestDatabase, accountId: string): Promise<unknown> {
  const rows = await db.query(
    `select state, processed_seq, head_attempts, attempts_forgiven,
       next_attempt_at <= clock_timestamp() + interval '1 second' as soon
     from inturn.accounts where id = $1`,
    [accountId],
  );
  return rows[0];
}

/** Does something while the only connection is taken, by an account of its own; `letGo` gives it back before the end. */
async function whileOccupied(
  db: TestDatabase,
  options: TurnOptions,
  body: (letGo: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const { promise: told, resolve: tell } = Promise.withResolvers<void>();
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
  const handler: TurnOptions["handler"] = async (_event, { transaction }) =>
    await transaction(async () => {
      begin();
      await told;
    });
  await appendTo(db, "occupier");
  const turn = runTurn({ ...options, handler }, "occupier");
  const letGo = async () => {
    tell();
    await turn;
  };
  await begun;
  try {
    await body(letGo);
  } finally {
    await letGo();
  }
  assert.deepEqual(await db.query("select state from inturn.accounts where id = 'occupier'"), [{ state: "idle" }]);
}

const settles: TurnOptions["handler"] = async (_event, { transaction }) => await transaction(async () => undefined);

const rests = { state: "retrying", processed_seq: 0, head_attempts: 1, attempts_forgiven: 1, soon: true };

/** How a handler passes on that it got no transaction. */
const PASSING: Record<string, TurnOptions["handler"]> = {
  "as it came": settles,
  wrapped: async (event, context) => {
    try {
      await settles(event, context);
    } catch (cause) {
      throw new Error("it did not work", { cause });
    }
  },
};

for (const [how, handler] of Object.entries(PASSING)) {
  test(
    `a handler that waits in vain for a connection loses no attempt, when it passes that on ${how}`,
    withOneConnection(async ({ db, options }) => {
      await appendTo(db, "a");
      await whileOccupied(db, options, async () => {
        await runTurn({ ...options, ruleOf: () => ({ ...once(), handlerTimeoutMs: 100 }), handler }, "a");
        assert.deepEqual(await headOf(db, "a"), rests);
      });
      await db.query("update inturn.accounts set next_attempt_at = clock_timestamp() where id = 'a'");
      await runTurn({ ...options, ruleOf: once, handler }, "a");
      assert.deepEqual(await db.query("select state, attempts from inturn.event_results where account_id = 'a'"), [
        { state: "processed", attempts: 2 },
      ]);
    }),
  );
}

test(
  "a handler that swallows it has failed",
  withOneConnection(async ({ db, options }) => {
    await appendTo(db, "a");
    const handler: TurnOptions["handler"] = async (event, context) =>
      await Promise.resolve(settles(event, context)).catch(() => undefined);
    await whileOccupied(db, options, async () => {
      await runTurn({ ...options, ruleOf: () => ({ ...once(), handlerTimeoutMs: 100 }), handler }, "a");
      assert.deepEqual(await headOf(db, "a"), { ...rests, state: "blocked", attempts_forgiven: 0, soon: null });
    });
  }),
);

test(
  "those who wait get the connection one after the other, and one that is interrupted waits no longer",
  withOneConnection(async ({ db, options }) => {
    const ids = Array.from({ length: 30 }, (_, i) => `a${i}`);
    await appendTo(db, "interrupted", ...ids);
    const asked = new Set<string>();
    const had: string[] = [];
    const handler: TurnOptions["handler"] = async (event, { transaction }) => {
      asked.add(event.accountId);
      await transaction(async (client) => {
        had.push(event.accountId);
        await client.query("select 1");
      });
    };
    const start = (id: string, interrupted = new AbortController().signal) =>
      runTurn({ ...options, interrupted, ruleOf: once, handler }, id);
    await whileOccupied(db, options, async (letGo) => {
      const interruption = new AbortController();
      const first = start("interrupted", interruption.signal);
      await until("the first one waits", () => asked.has("interrupted"));
      const turns = Promise.all(ids.map((id) => start(id)));
      await until("all of them wait", () => asked.size === 31);
      interruption.abort(new Error("the worker stops"));
      await first;
      assert.deepEqual(await headOf(db, "interrupted"), { ...rests, state: "scheduled", soon: null });
      assert.deepEqual(had, []);
      await letGo();
      await turns;
      assert.deepEqual([had.length, new Set(had)], [30, new Set(ids)]);
    });
    assert.deepEqual(
      await db.query(
        "select state, attempts, count(*) from inturn.event_results where account_id <> 'occupier' group by 1, 2 order by 1",
      ),
      [
        { state: "pending", attempts: 1, count: 1 },
        { state: "processed", attempts: 1, count: 30 },
      ],
    );
  }),
);

test(
  "a database that is away when the transaction is to begin costs no attempt",
  withOneConnection(
    async ({ db, options }) => {
      await appendTo(db, "a");
      await runTurn({ ...options, ruleOf: once, handler: settles }, "a");
      assert.deepEqual(await headOf(db, "a"), rests);
    },
    { url: "postgres://nobody@127.0.0.1:1/nothing" },
  ),
);

test(
  "work that never ends loses its connection when the server ends its transaction, and its handler hears of it",
  withOneConnection(
    async ({ db, options }) => {
      await appendTo(db, "hangs", "b");
      const codes: unknown[] = [];
      const hangs: TurnOptions["handler"] = async (_event, { transaction }) => {
        const never = transaction(async () => await new Promise(() => undefined));
        await never.catch((error: { code?: string }) => {
          codes.push(error.code);
          throw error;
        });
      };
      const turns = [["hangs", hangs] as const, ["b", settles] as const].map(([id, handler]) =>
        runTurn({ ...options, ruleOf: once, handler }, id),
      );
      await Promise.all(turns);
      assert.deepEqual(codes, ["25P03"]);
      assert.deepEqual(await db.query("select id, state from inturn.accounts order by id"), [
        { id: "b", state: "idle" },
        { id: "hangs", state: "blocked" },
      ]);
    },
    { idleMsMax: 200 },
  ),
);
