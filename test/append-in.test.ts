/**
 * Appending in transactions of the libraries that people use: together with their own writes, or not at all.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { drizzle as drizzleOverPostgresJs } from "drizzle-orm/postgres-js";
import createKnex from "knex";
import { CompiledQuery, Kysely, PostgresDialect } from "kysely";
import createPostgres from "postgres";
import type { Transaction } from "../src/db/transactions-of-others.ts";
import { appendIn, createInturn } from "../src/index.ts";
import { openUserPool, type TestDatabase, withDatabase } from "./support/database.ts";
import { openPrisma } from "./support/prisma.ts";
import { until } from "./support/until.ts";

type Work = (transaction: Transaction, run: (text: string) => Promise<unknown>) => Promise<void>;

/** A library: it runs work in a transaction, in a savepoint of one, and goes away. */
interface Library {
  transact(work: Work): Promise<void>;
  /** The first part in the transaction, the second one in a savepoint of it, whose failure is caught. */
  nest(outer: Work, inner: Work): Promise<void>;
  end(): Promise<void>;
}

const quietly = async (work: Promise<unknown>) => void (await work.catch(() => undefined));

const LIBRARIES: Record<string, (url: string) => Library> = {
  pg: (url) => {
    const pool = openUserPool(url);
    const transact = async (work: Work) => {
      const client = await pool.connect();
      try {
        await client.query("begin");
        await work(client, async (text) => await client.query(text));
        await client.query("commit");
      } catch (error) {
        await client.query("rollback");
        throw error;
      } finally {
        client.release();
      }
    };
    return {
      transact,
      nest: async (outer, inner) =>
        await transact(async (client, run) => {
          await outer(client, run);
          await run("savepoint s");
          await inner(client, run).catch(async () => await run("rollback to savepoint s"));
        }),
      end: async () => await pool.end(),
    };
  },
  drizzle: (url) => {
    const pool = openUserPool(url);
    const db = drizzle(pool);
    return {
      transact: async (work) =>
        await db.transaction(async (tx) => await work(tx, async (text) => await tx.execute(sql.raw(text)))),
      nest: async (outer, inner) =>
        await db.transaction(async (tx) => {
          await outer(tx, async (text) => await tx.execute(sql.raw(text)));
          await quietly(
            tx.transaction(async (inTx) => await inner(inTx, async (text) => await inTx.execute(sql.raw(text)))),
          );
        }),
      end: async () => await pool.end(),
    };
  },
  "drizzle over postgres.js": (url) => {
    const client = createPostgres(url, { max: 2, onnotice: () => undefined });
    const db = drizzleOverPostgresJs(client);
    return {
      transact: async (work) =>
        await db.transaction(async (tx) => await work(tx, async (text) => await tx.execute(sql.raw(text)))),
      nest: async (outer, inner) =>
        await db.transaction(async (tx) => {
          await outer(tx, async (text) => await tx.execute(sql.raw(text)));
          await quietly(
            tx.transaction(async (inTx) => await inner(inTx, async (text) => await inTx.execute(sql.raw(text)))),
          );
        }),
      end: async () => await client.end(),
    };
  },
  knex: (url) => {
    const knex = createKnex({ client: "pg", connection: url, pool: { min: 0, max: 2 } });
    return {
      transact: async (work) =>
        await knex.transaction(async (trx) => await work(trx, async (text) => await trx.raw(text))),
      nest: async (outer, inner) =>
        await knex.transaction(async (trx) => {
          await outer(trx, async (text) => await trx.raw(text));
          await quietly(trx.transaction(async (inTrx) => await inner(inTrx, async (text) => await inTrx.raw(text))));
        }),
      end: async () => await knex.destroy(),
    };
  },
  kysely: (url) => {
    const db = new Kysely<object>({
      dialect: new PostgresDialect({ pool: openUserPool(url) }),
    });
    const transact = async (work: Work) =>
      await db
        .transaction()
        .execute(async (trx) => await work(trx, async (text) => await trx.executeQuery(CompiledQuery.raw(text))));
    return {
      transact,
      nest: async (outer, inner) => {
        const trx = await db.startTransaction().execute();
        await outer(trx, async (text) => await trx.executeQuery(CompiledQuery.raw(text)));
        const saved = await trx.savepoint("s").execute();
        await inner(saved, async (text) => await saved.executeQuery(CompiledQuery.raw(text))).catch(
          async () => await saved.rollbackToSavepoint("s").execute(),
        );
        await trx.commit().execute();
      },
      end: async () => await db.destroy(),
    };
  },
  Prisma: (url) => {
    const client = openPrisma(url);
    const transact = async (work: Work) =>
      await client.$transaction(async (tx) => await work(tx, async (text) => await tx.$executeRawUnsafe(text)));
    return {
      transact,
      nest: async (outer, inner) =>
        await transact(async (tx, run) => {
          await outer(tx, run);
          await run("savepoint s");
          await inner(tx, run).catch(async () => await run("rollback to savepoint s"));
        }),
      end: async () => await client.$disconnect(),
    };
  },
  "postgres.js": (url) => {
    const client = createPostgres(url, { max: 2, onnotice: () => undefined });
    return {
      transact: async (work) => await client.begin(async (tx) => await work(tx, async (text) => await tx.unsafe(text))),
      nest: async (outer, inner) =>
        await client.begin(async (tx) => {
          await outer(tx, async (text) => await tx.unsafe(text));
          await quietly(tx.savepoint(async (saved) => await inner(saved, async (text) => await saved.unsafe(text))));
        }),
      end: async () => await client.end(),
    };
  },
};

const stored = async (db: TestDatabase) =>
  (
    await db.query<{ name: string }>(
      "select account_id || '/' || seq || ' ' || data::text as name from inturn.events order by account_id, seq",
    )
  ).map(({ name }) => name);

for (const [name, open] of Object.entries(LIBRARIES)) {
  test(
    `${name}: events exist when its transaction commits, and not when it or its savepoint is rolled back`,
    withDatabase(async (db) => {
      await db.query("create table orders (id integer)");
      const library = open(db.url);
      try {
        const event = { accountId: "a", type: "order.placed", id: "e1", time: "2026-01-01T00:00:00Z", data: { n: 1 } };
        const trace = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" };
        await library.transact(async (transaction, run) => {
          await run("insert into orders values (1)");
          const appended = await appendIn(transaction, [
            { ...event, ...trace },
            { accountId: "b", data: "ü '\"\\ ?  $1", expectedSeq: 1 },
            { accountId: "a", data: [1.5, null] },
          ]);
          assert.deepEqual(appended, [
            { accountId: "a", seq: 1, duplicate: false },
            { accountId: "b", seq: 1, duplicate: false },
            { accountId: "a", seq: 2, duplicate: false },
          ]);
          assert.deepEqual(await appendIn(transaction, []), []);
        });
        const first = ['a/1 {"n":1}', "a/2 [1.5,null]", `b/1 ${JSON.stringify("ü '\"\\ ?  $1")}`];
        assert.deepEqual(await stored(db), first);
        const [row] = await db.query(
          "select type, event_id, occurred_at = '2026-01-01Z' as at, metadata from inturn.events where account_id = 'a' and seq = 1",
        );
        assert.deepEqual(row, { type: "order.placed", event_id: "e1", at: true, metadata: trace });
        assert.equal((await db.query("select from inturn.accounts where state = 'scheduled'")).length, 2);

        await assert.rejects(
          library.transact(async (transaction, run) => {
            await run("insert into orders values (2)");
            await appendIn(transaction, [{ accountId: "c", data: 1 }]);
            throw new Error("the order is not wanted");
          }),
          /not wanted/,
        );
        await library.nest(
          async (transaction) => void (await appendIn(transaction, [{ accountId: "d", data: 1 }])),
          async (transaction) => {
            await appendIn(transaction, [{ accountId: "d", data: 2 }]);
            throw new Error("only this part is not wanted");
          },
        );
        assert.deepEqual(await stored(db), [...first, "d/1 1"]);
        assert.equal((await db.query("select from orders")).length, 1);

        const refused = async (events: Parameters<typeof appendIn>[1]) =>
          await library.transact(async (transaction) => void (await appendIn(transaction, events)));
        await library.transact(async (transaction) => {
          assert.deepEqual(await appendIn(transaction, [event]), [{ accountId: "a", seq: 1, duplicate: true }]);
        });
        await assert.rejects(refused([{ ...event, data: { n: 2 } }]), { code: "event_id_reused" });
        await assert.rejects(refused([{ accountId: "a", data: 3, expectedSeq: 9 }]), { code: "seq_unexpected" });
        await assert.rejects(refused([{ accountId: "", data: 3 }]), { code: "event_invalid" });
        assert.deepEqual(await stored(db), [...first, "d/1 1"]);
      } finally {
        await library.end();
      }
    }),
  );
}

for (const [name, open] of Object.entries(LIBRARIES)) {
  test(
    `${name}: eight writers to one account: its seqs are without gaps, in the order of the commits, and all are handled`,
    withDatabase(async (db) => {
      await db.query("create table commits (n bigserial, writer integer, seq bigint)");
      const writers = Array.from({ length: 8 }, (_, writer) => ({ writer, library: open(db.url) }));
      await Promise.all(
        writers.map(async ({ writer, library }) => {
          for (let i = 0; i < 5; i += 1) {
            const isWanted = (writer + i) % 4 !== 0;
            const done = library.transact(async (transaction, run) => {
              const [appended] = await appendIn(transaction, [{ accountId: "a", data: { writer, i } }]);
              // The account is ours until the commit: these rows are in the order of the commits.
              await run(`insert into commits (writer, seq) values (${writer}, ${appended?.seq})`);
              if (!isWanted) throw new Error("not wanted");
            });
            await done.catch(() => assert.equal(isWanted, false));
          }
          await library.end();
        }),
      );
      const rows = await db.query<{ writer: number; seq: number }>("select writer, seq from commits order by n");
      assert.deepEqual(
        rows.map(({ seq }) => seq),
        Array.from({ length: 30 }, (_, i) => i + 1),
      );
      const handled: unknown[] = [];
      const inturn = createInturn({
        databaseUrl: db.url,
        logLevel: "silent",
        handler: ({ data }) => void handled.push((data as { writer: number }).writer),
      });
      try {
        await inturn.startWorker();
        await until("all are handled", () => handled.length === 30);
      } finally {
        await inturn.stop();
      }
      assert.deepEqual(
        handled,
        rows.map(({ writer }) => writer),
      );
    }),
  );
}
