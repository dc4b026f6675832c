/**
 * Accounts are spread over the workers: one that comes late gets its part of a backlog, while the others are busy with it.
 */
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Balance } from "../src/engine/balance.ts";
import { withDatabase } from "./support/database.ts";
import { startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

/** How many turns hear that they are to give their account back. */
function countTaken(balance: Balance): number {
  let taken = 0;
  while (balance.takesOne()) taken += 1;
  return taken;
}

test("half of what a busy worker has too many is given back, when it was so for a while", () => {
  let share = 0.9;
  const balance = new Balance(() => share);
  const hears = (inHand: number, leastInHand: number | null) => {
    balance.heard(inHand, leastInHand);
    return countTaken(balance);
  };
  assert.deepEqual([hears(100, 0), hears(100, 0), hears(100, 0)], [0, 0, 50]);
  assert.deepEqual([hears(90, 10), hears(90, 10), hears(90, 10), hears(90, 10)], [0, 0, 40, 0]);
  assert.deepEqual([hears(90, 45), hears(90, 10), hears(90, 10), hears(90, 10)], [0, 0, 0, 40], "even once between");
  assert.deepEqual([hears(9, null), hears(9, null), hears(9, null)], [0, 0, 0], "it is alone");
  assert.deepEqual([hears(1, 0), hears(1, 0), hears(1, 0)], [0, 0, 0], "one account cannot be shared");
  assert.deepEqual([hears(3, 1), hears(3, 1), hears(3, 1)], [0, 0, 0]);
  share = 0.1;
  assert.deepEqual([hears(1_000, 0), hears(1_000, 0), hears(1_000, 0)], [0, 0, 0], "it only waits for its handlers");
});

test("what was not given back until the next renewal is not given back later", () => {
  const balance = new Balance(() => 1);
  for (let i = 0; i < 3; i += 1) balance.heard(10, 0);
  assert.ok(balance.isUneven && balance.takesOne());
  balance.heard(10, 9);
  assert.ok(!balance.isUneven && !balance.takesOne());
});

const ACCOUNTS = 100;
/** Of each: more than are handled until the second worker is there. */
const EVENTS = 300;

/** Keeps the processor busy for a millisecond. */
const HANDLER = `
  export default () => {
    const end = performance.now() + 1;
    while (performance.now() < end);
  };`;

test(
  "a worker that comes when all accounts are in hand gets its part of them; the order holds",
  withDatabase(async (db) => {
    const names = Array.from({ length: ACCOUNTS }, (_, i) => `account-${i}`);
    await db.query(
      `select from inturn.append_events(
         (select array_agg(name) from unnest($1::text[]) as name cross join generate_series(1, $2)),
         (select array_agg('{}'::json) from generate_series(1, $2 * cardinality($1::text[]))))`,
      [names, EVENTS],
    );
    const handler = join(tmpdir(), `inturn-balance-${process.pid}.mjs`);
    writeFileSync(handler, HANDLER);
    const environment = { DATABASE_URL: db.url, INTURN_HANDLER: handler };
    const first = startProcess(["work"], environment);
    await first.ready;
    const countRunning = async (pid: number | undefined) => {
      const [row] = await db.query<{ count: number }>(
        `select count(*)::integer as count from inturn.accounts as a
         join inturn.workers as w on w.id = a.lease_worker where w.pid = $1 and a.state = 'running'`,
        [pid],
      );
      return row?.count ?? 0;
    };
    await until("the first has all accounts", async () => (await countRunning(first.child.pid)) === ACCOUNTS);
    const second = startProcess(["work"], environment);
    await second.ready;
    await until("the second has a quarter of them", async () => (await countRunning(second.child.pid)) >= ACCOUNTS / 4);
    assert.deepEqual(await Promise.all([first.stop(), second.stop()]), [0, 0]);
    assert.deepEqual(await db.query("select * from inturn.order_violations"), []);
    rmSync(handler);
  }),
);
