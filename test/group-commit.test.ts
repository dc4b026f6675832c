import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { GroupCommit } from "../src/engine/group-commit.ts";

/** A commit that ends when it is told to. */
function createGate() {
  const open: (() => void)[] = [];
  return {
    pass: () => new Promise<void>((resolve) => open.push(resolve)),
    openNext: () => open.shift()?.(),
    get waiting() {
      return open.length;
    },
  };
}

const nextRound = () => new Promise<void>((resolve) => setImmediate(resolve));

test("what arrives while a batch is being committed shares the next one", async () => {
  const gate = createGate();
  const batches: number[][] = [];
  const group = new GroupCommit<number, number>({
    weightMax: 100,
    commit: async (items) => {
      batches.push([...items]);
      await gate.pass();
      return items.map((item) => item * 10);
    },
  });
  const first = [1, 2].map((item) => group.submit(item));
  await nextRound();
  const later = [3, 4, 5].map((item) => group.submit(item));
  await nextRound();
  assert.deepEqual(batches, [[1, 2]]);
  gate.openNext();
  assert.deepEqual(await Promise.all(first), [10, 20]);
  while (gate.waiting === 0) await nextRound();
  gate.openNext();
  assert.deepEqual(await Promise.all(later), [30, 40, 50]);
  assert.deepEqual(batches, [
    [1, 2],
    [3, 4, 5],
  ]);
});

test("every item is committed exactly once, in order, within the limits, and hears its own result", async () => {
  const items = fc.array(fc.record({ weight: fc.integer({ min: 1, max: 9 }), pause: fc.boolean() }), { maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(items, fc.integer({ min: 1, max: 12 }), async (list, weightMax) => {
      const committed: number[] = [];
      let inFlight = 0;
      const group = new GroupCommit<{ index: number; weight: number }, number>({
        weightMax,
        weigh: (item) => item.weight,
        commit: async (batch) => {
          inFlight += 1;
          assert.equal(inFlight, 1, "one batch at a time");
          const weight = batch.reduce((sum, item) => sum + item.weight, 0);
          assert.ok(weight <= weightMax || batch.length === 1);
          committed.push(...batch.map((item) => item.index));
          await nextRound();
          inFlight -= 1;
          return batch.map((item) => item.index);
        },
      });
      const results: Promise<number>[] = [];
      for (const [index, { weight, pause }] of list.entries()) {
        results.push(group.submit({ index, weight }));
        if (pause) await nextRound();
      }
      const indexes = list.map((_, index) => index);
      assert.deepEqual(await Promise.all(results), indexes);
      assert.deepEqual(committed, indexes);
      assert.equal(group.waitingWeight, 0);
    }),
  );
});

test("an item at fault fails alone; an error that is nobody's fault fails the batch", async () => {
  const group = new GroupCommit<string, string>({
    weightMax: 100,
    isItemsFault: (error) => error instanceof RangeError,
    commit: async (items) => {
      if (items.includes("down")) throw new Error("the database is away");
      if (items.includes("bad")) throw new RangeError("bad item");
      return items.map((item) => `${item}!`);
    },
  });
  const outcomes = async (...items: string[]) =>
    (await Promise.allSettled(items.map((item) => group.submit(item)))).map((result) =>
      result.status === "fulfilled" ? result.value : (result.reason as Error).message,
    );
  assert.deepEqual(await outcomes("a", "bad", "b"), ["a!", "bad item", "b!"]);
  assert.deepEqual(await outcomes("a", "down"), ["the database is away", "the database is away"]);
});
