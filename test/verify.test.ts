/** What `verify` says of an account that is in order: where each of its events has gone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isKept, verify } from "../src/demo/verify.ts";
import { runTurn } from "../src/engine/turn.ts";
import { withDatabase } from "./support/database.ts";
import { appendTo, createTestWorker, rule } from "./support/worker.ts";

test(
  "dead letters and skipped events are not pending: every event is counted once",
  withDatabase(async (db) => {
    const { options } = await createTestWorker(db);
    const handler = ({ seq }: { seq: number }) => {
      if (seq === 2) throw new Error("never");
    };
    const ruleOf = () => ({ ...rule, attemptsMax: 1, failurePolicy: "dead-letter" as const });
    await appendTo(db, "a", "a", "a");
    await runTurn({ ...options, handler, ruleOf }, "a");
    await appendTo(db, "a", "b", "b");
    await db.query("select inturn.skip('a', why => 'a test')");
    await db.query("select inturn.skip('b', why => 'a test')");
    const verification = await verify(db.database);
    const { events, processed, pending, dead, skipped } = verification;
    assert.deepEqual(
      { events, processed, pending, dead, skipped },
      { events: 6, processed: 2, pending: 1, dead: 1, skipped: 2 },
    );
    const [row] = await db.query(
      "select sum(pending)::integer as pending, sum(dead)::integer as dead from inturn.account_results",
    );
    assert.deepEqual(row, { pending, dead });
    assert.equal(isKept(verification), true);
  }),
);
