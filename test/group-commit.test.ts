import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { GroupCommit } from "../src/engine/group-commit.ts";
import { until } from "./support/until.ts";

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

const never = {
  isLocked: () => false,
  accountsOf: () => [],
  findLocked: async () => new Set<string>(),
  waitMsMax: 0,
  waitingWeightMax: 0,
};

const nextRound = () => new Promise<void>((resolve) => setImmediate(resolve));

test("what arrives while a batch is being committed shares the next one", async () => {
  const gate = createGate();
  const batches: number[][] = [];
  const group = new GroupCommit<number, number>({
    weightMax: 100,
    detour: never,
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

test("a few that came too late for a batch share the next one with those whom the batch answers", async () => {
  const sizes: number[] = [];
  const gate = createGate();
  const group = new GroupCommit<number, number>({
    weightMax: 100,
    detour: never,
    commit: async (items) => {
      sizes.push(items.length);
      await gate.pass();
      return items;
    },
  });
  const submitTwice = async (item: number) => void (await group.submit(await group.submit(item)));
  const callers = Array.from({ length: 10 }, (_, i) => submitTwice(i));
  while (gate.waiting === 0) await nextRound();
  callers.push(...[10, 11].map(submitTwice));
  for (let round = 0; round < 50; round++) {
    gate.openNext();
    await nextRound();
  }
  await Promise.all(callers);
  assert.deepEqual(sizes, [10, 12, 2]);
});

test("every item is committed exactly once, in order, within the limits, and hears its own result", async () => {
  const items = fc.array(fc.record({ weight: fc.integer({ min: 1, max: 9 }), pause: fc.boolean() }), { maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(items, fc.integer({ min: 1, max: 12 }), async (list, weightMax) => {
      const committed: number[] = [];
      let inFlight = 0;
      const group = new GroupCommit<{ index: number; weight: number }, number>({
        weightMax,
        detour: never,
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
    detour: never,
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

/** A database in which some accounts are locked: a commit that needs one of them fails, and all of it with it. */
function createLockable() {
  const locked = new Set<string>();
  /** Locked, and no look shows it: a row that is not committed yet. */
  const hidden = new Set<string>();
  const committed: string[] = [];
  const tries: number[] = [];
  const looks: string[][] = [];
  const lockTimeout = new Error("lock timeout");
  const accountOf = (item: string) => item.slice(0, 1);
  const group = new GroupCommit<string, string>({
    weightMax: 100,
    commit: async (items) => {
      tries.push(items.length);
      await nextRound();
      if (items.some((item) => locked.has(accountOf(item)) || hidden.has(accountOf(item)))) throw lockTimeout;
      committed.push(...items);
      return items.map((item) => `${item}!`);
    },
    detour: {
      isLocked: (error) => error === lockTimeout,
      accountsOf: (item) => [accountOf(item)],
      findLocked: async (accounts) => {
        looks.push([...accounts]);
        return new Set(accounts.filter((account) => locked.has(account)));
      },
      waitMsMax: 200,
      waitingWeightMax: 1_000,
    },
  });
  return { locked, hidden, committed, tries, looks, lockTimeout, group };
}

test("a locked account holds up nobody else, and its own items come in their order once it is free", async () => {
  const { locked, committed, group } = createLockable();
  locked.add("s");
  const stuck = ["s1", "s2"].map((item) => group.submit(item));
  assert.deepEqual(await Promise.all(["a1", "b1"].map((item) => group.submit(item))), ["a1!", "b1!"]);
  stuck.push(group.submit("s3"));
  assert.deepEqual(await Promise.all(["a2", "b2"].map((item) => group.submit(item))), ["a2!", "b2!"]);
  assert.deepEqual(committed, ["a1", "b1", "a2", "b2"]);
  locked.delete("s");
  assert.deepEqual(await Promise.all(stuck), ["s1!", "s2!", "s3!"]);
  assert.deepEqual(committed.slice(4), ["s1", "s2", "s3"]);
});

test("an account that stays locked for too long fails its items, with what the database said", async () => {
  const { locked, committed, lockTimeout, group } = createLockable();
  locked.add("s");
  const outcomes = await Promise.allSettled(["s1", "a1", "s2"].map((item) => group.submit(item)));
  assert.deepEqual(outcomes, [
    { status: "rejected", reason: lockTimeout },
    { status: "fulfilled", value: "a1!" },
    { status: "rejected", reason: lockTimeout },
  ]);
  assert.deepEqual(committed, ["a1"]);
});

test("those that wait behind a locked account are given up together with the first, not one after the other", async () => {
  const { locked, tries, group } = createLockable();
  locked.add("s");
  const waiting = Array.from({ length: 200 }, (_, i) => group.submit(`s${i}`));
  assert.equal((await Promise.allSettled(waiting)).filter(({ status }) => status === "rejected").length, 200);
  assert.ok(tries.length < 100, `${tries.length} commits`);
  assert.equal(group.waitingWeight, 0);
});

test("forty locked accounts are asked for together, and one that is free again waits for none of the others", async () => {
  const { locked, committed, tries, looks, group } = createLockable();
  const accounts = Array.from({ length: 40 }, (_, i) => String.fromCharCode(0x100 + i));
  for (const account of accounts) locked.add(account);
  const answers = accounts.map((account) => group.submit(`${account}1`));
  const [first = "", ...others] = accounts;
  await until("they are asked for", () => looks.some((asked) => asked.length === 40));
  const before = tries.length;
  locked.delete(first);
  assert.equal(await answers[0], `${first}1!`);
  assert.deepEqual(committed, [`${first}1`]);
  assert.equal(tries.length, before + 1, "nobody tries a locked one");
  locked.clear();
  await Promise.all(answers);
  assert.deepEqual(committed.slice(1).toSorted(), others.map((account) => `${account}1`).toSorted());
  assert.equal(tries.length, before + 2, "the others come together");
});

test("who comes back from a detour is back before its caller hears of it: the next item goes the ordinary way", async () => {
  const { locked, committed, looks, group } = createLockable();
  locked.add("a");
  const first = group.submit("a1");
  await until("it waits", () => looks.length > 1);
  locked.delete("a");
  await first;
  const before = looks.length;
  for (const item of ["a2", "a3", "a4"]) await group.submit(item);
  assert.equal(looks.length, before, "nothing is asked any more");
  assert.deepEqual(committed, ["a1", "a2", "a3", "a4"]);
});

test("over random schedules of locks, also of those that no look shows, each account's items are committed in their order", async () => {
  const schedule = fc.record({
    items: fc.array(fc.constantFrom("a", "b", "c", "d"), { minLength: 1, maxLength: 30 }),
    locks: fc.array(fc.tuple(fc.constantFrom("a", "b", "c", "d"), fc.boolean(), fc.nat(4)), { maxLength: 10 }),
  });
  await fc.assert(
    fc.asyncProperty(schedule, async ({ items, locks }) => {
      const { locked, hidden, committed, group } = createLockable();
      const counts = new Map<string, number>();
      const named = items.map((account) => {
        const n = (counts.get(account) ?? 0) + 1;
        counts.set(account, n);
        return `${account}${n}`;
      });
      const answers: Promise<string>[] = [];
      let next = 0;
      for (const [account, isHidden, take] of locks) {
        (isHidden ? hidden : locked).add(account);
        for (const item of named.slice(next, next + take)) answers.push(group.submit(item));
        next += take;
        await nextRound();
        await nextRound();
        if (take % 2 === 0) for (const set of [locked, hidden]) set.delete(account);
      }
      locked.clear();
      hidden.clear();
      for (const item of named.slice(next)) answers.push(group.submit(item));
      assert.deepEqual(
        await Promise.all(answers),
        named.map((item) => `${item}!`),
      );
      for (const [account, count] of counts) {
        assert.deepEqual(
          committed.filter((item) => item.startsWith(account)),
          Array.from({ length: count }, (_, i) => `${account}${i + 1}`),
        );
      }
      assert.equal(group.waitingWeight, 0);
    }),
    { numRuns: 60 },
  );
});

test("a batch that hangs holds up nobody but itself", async () => {
  const { promise: answer, resolve: answerIt } = Promise.withResolvers<void>();
  const group = new GroupCommit<string, string>({
    patienceMs: 20,
    weightMax: 1,
    detour: never,
    commit: async (items) => {
      if (items.includes("hangs")) await answer;
      return items.map((item) => `${item}!`);
    },
  });
  const hanging = group.submit("hangs");
  assert.equal(await group.submit("next"), "next!");
  answerIt();
  assert.equal(await hanging, "hangs!");
});
