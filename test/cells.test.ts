/**
 * Cells: where an account lies is the same for everybody, and no database takes an account that lies in another one.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { appendRequests } from "../src/db/append.ts";
import { makeCell, mapOf, readCells } from "../src/db/cells.ts";
import { BUCKETS, planBalance, spreadBuckets } from "../src/domain/cell.ts";
import { createAppender } from "../src/engine/append.ts";
import { bucketOf } from "../src/engine/bucket.ts";
import { appendIn } from "../src/service/append-in.ts";
import { NO_CAPS, newEvent } from "./support/append.ts";
import { idsIn, MAP } from "./support/cells.ts";
import { openUserPool, withDatabase } from "./support/database.ts";

test(
  "SQL and the program put 100,000 ids into the same buckets, whatever the characters",
  withDatabase(async (db) => {
    const numbered = Array.from({ length: 99_000 }, (_, i) => `account-${i}`);
    const strange = fc.sample(fc.string({ unit: "grapheme", minLength: 1, maxLength: 250 }), 1_000);
    const ids = [...numbered, ...strange.map((id) => id.replaceAll("\u0000", "0"))];
    const rows = await db.query<{ bucket: number }>(
      "select inturn.bucket_of(w.id) as bucket from unnest($1::text[]) with ordinality as w (id, n) order by w.n",
      [ids],
    );
    assert.deepEqual(
      rows.map(({ bucket }) => bucket),
      ids.map(bucketOf),
    );
    const inBuckets = numbered.map(bucketOf);
    const sizes = Array.from({ length: BUCKETS }, (_, bucket) => inBuckets.filter((each) => each === bucket).length);
    // 387 on average.
    assert.ok(Math.min(...sizes) > 300 && Math.max(...sizes) < 480, `${Math.min(...sizes)} to ${Math.max(...sizes)}`);
  }),
);

test("a bucket never changes: these are what other programs may have computed", () => {
  const known = { "account-1": 0x07, alice: 0x2b, Zürich: 0x42, "🦊": 0x0a };
  for (const [id, bucket] of Object.entries(known)) assert.equal(bucketOf(id), bucket, id);
});

test("buckets are spread evenly, and each lies in exactly one cell", () => {
  for (const cells of [1, 2, 3, 7, 64]) {
    const names = Array.from({ length: cells }, (_, i) => `c${i}`);
    const map = spreadBuckets(names);
    const sizes = names.map((name) => map.filter((cell) => cell === name).length);
    assert.equal(map.length, BUCKETS);
    assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1, sizes.join());
  }
});

test(
  "a database becomes a cell once, and only without accounts that would lie elsewhere",
  withDatabase(async (db) => {
    const { database } = db;
    const everywhere = async (cell: string) =>
      (await readCells(database))?.buckets.every((known) => known.cell === cell);
    assert.equal(await readCells(database), undefined);
    assert.equal(await makeCell(database, { here: "b", map: MAP }), true);
    const known = await readCells(database);
    assert.deepEqual([known?.here, mapOf(known?.buckets ?? [])], ["b", MAP]);
    await assert.rejects(makeCell(database, { here: "b", map: MAP }), { code: "23505" });
    await db.query("delete from inturn.buckets");
    await db.query("select inturn.append_event($1, '1')", [idsIn("a", 1)[0]]);
    assert.equal(await makeCell(database, { here: "b", map: MAP }), false);
    assert.equal(await readCells(database), undefined);
    assert.equal(await makeCell(database, { here: "b", map: spreadBuckets(["b"]) }), true);
    assert.equal(await everywhere("b"), true);
  }),
);

test("a balance moves as few buckets as it can, and leaves no cell with more than the others", () => {
  const cells = fc.uniqueArray(fc.constantFrom("a", "b", "c", "d", "e"), { minLength: 1 });
  const map = fc.array(fc.constantFrom("a", "b", "c", "d", "e"), { minLength: BUCKETS, maxLength: BUCKETS });
  fc.assert(
    fc.property(map, cells, (before, names) => {
      const moves = planBalance(before, names);
      const after: string[] = [...before];
      for (const { bucket, to } of moves) after[bucket] = to;
      const counts = (of: readonly string[]) => names.map((name) => of.filter((cell) => cell === name).length);
      assert.deepEqual(new Set(after.filter((cell) => !names.some((name) => name === cell))), new Set());
      assert.ok(Math.max(...counts(after)) - Math.min(...counts(after)) <= 1);
      const shares = counts(after).toSorted((one, other) => other - one);
      const had = counts(before).toSorted((one, other) => other - one);
      const kept = had.reduce((sum, count, i) => sum + Math.min(count, shares[i] ?? 0), 0);
      assert.equal(moves.length, BUCKETS - kept);
      assert.deepEqual(planBalance(after, names), []);
    }),
  );
});

test(
  "a cell refuses the requests with accounts of another cell, makes no such account, and stores the others",
  withDatabase(async (db) => {
    const { database } = db;
    await makeCell(database, { here: "b", map: MAP });
    const [here, other] = [idsIn("b", 5), idsIn("a", 5)];
    const request = fc.array(fc.constantFrom(...here, ...other), { minLength: 1, maxLength: 4 });
    const lengths = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 5 }), async (requests) => {
        const batch = requests.map((ids) => ids.map((accountId) => newEvent({ accountId })));
        const expected = requests.map((ids) => {
          const index = ids.findIndex((id) => other.includes(id));
          if (index >= 0) return { refusal: { code: "wrong_cell", index, accountId: ids[index] } };
          return {
            appended: ids.map((accountId) => {
              lengths.set(accountId, (lengths.get(accountId) ?? 0) + 1);
              return { accountId, seq: lengths.get(accountId), duplicate: false };
            }),
          };
        });
        assert.deepEqual(await appendRequests(database, batch, NO_CAPS), expected);
      }),
      { numRuns: 100 },
    );
    const accounts = await db.query<{ id: string }>("select id from inturn.accounts");
    assert.deepEqual(
      accounts.filter(({ id }) => !here.includes(id)),
      [],
    );
  }),
);

test(
  "every way to append refuses an account of another cell, and names that cell",
  withDatabase(async (db) => {
    const { url, database } = db;
    await makeCell(database, { here: "b", map: MAP });
    const [here = "", other = ""] = [idsIn("b", 1)[0], idsIn("c", 1)[0]];
    const refusal = { code: "IT014", message: `account '${other}' lies in the cell c` };
    await assert.rejects(db.query("select inturn.append_event($1, '1')", [other]), refusal);
    await assert.rejects(
      db.query("select inturn.append_events($1, array['1', '2']::json[])", [[here, other]]),
      refusal,
    );
    await assert.rejects(
      db.query("select inturn.append_json(json_build_array(json_build_object('accountId', $1::text)))", [other]),
      refusal,
    );
    await assert.rejects(createAppender(database, NO_CAPS).append([newEvent({ accountId: other })]), {
      code: "wrong_cell",
      data: { index: 0, accountId: other, cell: "c" },
    });
    const pool = openUserPool(url);
    const client = await pool.connect();
    await client.query("begin");
    await assert.rejects(appendIn(client, [{ accountId: other, data: 1 }]), { code: "wrong_cell" });
    client.release(true);
    await pool.end();
    assert.deepEqual(await db.query("select from inturn.accounts"), []);
    await db.query("select inturn.append_event($1, '1')", [here]);
  }),
);
