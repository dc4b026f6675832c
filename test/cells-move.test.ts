/**
 * Moving buckets: everything of an account arrives as it was, and under load nothing is lost, doubled or out of order, whatever dies.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Cell } from "../src/config/cell-settings.ts";
import { copyRest, copySettled } from "../src/db/copy-bucket.ts";
import {
  beginMove,
  cleanBucket,
  expectBucket,
  freezeBucket,
  holdBucket,
  leaveBucket,
  thawBucket,
} from "../src/db/move.ts";
import { operate } from "../src/db/operate.ts";
import { createAppender } from "../src/engine/append.ts";
import { bucketOf } from "../src/engine/bucket.ts";
import { MOVE_STEPS, type MoveOptions, Mover } from "../src/service/move.ts";
import { NO_CAPS, newEvent } from "./support/append.ts";
import { cellsSetting, idsIn, NAMES, type TestCells, withCells } from "./support/cells.ts";
import type { TestDatabase } from "./support/database.ts";
import { moveAtRandom } from "./support/moving.ts";
import { runProcess, startProcess } from "./support/process.ts";

async function withMover(
  cells: TestCells,
  work: (mover: Mover) => Promise<void>,
  options: Partial<MoveOptions> = {},
): Promise<void> {
  const listed: Cell[] = NAMES.map((name) => ({ name, url: cells[name].url }));
  const mover = new Mover({ cells: listed, waitMs: 5_000, signal: new AbortController().signal, ...options });
  try {
    await work(mover);
  } finally {
    await mover.close();
  }
}

/** Everything of the accounts of a bucket, as text. */
async function everythingOf(db: TestDatabase, bucket: number): Promise<Record<string, unknown>> {
  const read = async (table: string, id: string, order: string) =>
    (
      await db.query<{ row: string }>(
        `select to_jsonb(r)::text as row from inturn.${table} as r where inturn.bucket_of(r.${id}) = $1 order by ${order}`,
        [bucket],
      )
    ).map(({ row }) => row);
  const texts = await db.query(
    "select account_id, seq, data::text, metadata::text from inturn.events where inturn.bucket_of(account_id) = $1 order by 1, 2",
    [bucket],
  );
  return {
    accounts: await read("accounts", "id", "r.id"),
    events: await read("events", "account_id", "r.account_id, r.seq"),
    attempts: await read("attempts", "account_id", "r.account_id, r.seq, r.slot"),
    texts,
  };
}

test(
  "accounts in every state arrive as they were, to the letter, and go on",
  withCells(async (cells) => {
    const bucket = bucketOf(idsIn("a", 1)[0] ?? "");
    const ids = Array.from({ length: 20_000 }, (_, i) => `mover-${i}`)
      .filter((id) => bucketOf(id) === bucket)
      .slice(0, 8);
    const [idle = "", pending = "", retrying = "", blocked = "", paused = "", dead = "", waiting = "", rests = ""] =
      ids;
    const { a } = cells;
    const data = ['{"a":  1.0000000000000000001, "b":"\\u00e9 \\n"}', '[1e400, -0.0,\n"x"]', '"🦊"', "null"];
    for (const id of ids) await a.query("select inturn.append_events($1, $2::json[])", [data.map(() => id), data]);
    const set = (id: string, change: string) => a.query(`update inturn.accounts set ${change} where id = $1`, [id]);
    await a.query(
      `update inturn.events set outcome = 'processed', started_at = clock_timestamp(), processed_at = clock_timestamp(), attempts = 1,
         duration_ms = 0.1 + 0.2 where account_id = any ($1) and (seq = 1 or account_id = $2)`,
      [ids, idle],
    );
    await a.query("update inturn.events set outcome = 'dead', error = 'no' where account_id = $1 and seq = 1", [dead]);
    await a.query(
      `insert into inturn.attempts (account_id, seq, slot, attempt, ended_at, outcome, error)
       values ($1, 2, 1, 1, clock_timestamp(), 'retry', 'once')`,
      [retrying],
    );
    await a.query("update inturn.accounts set processed_seq = 1 where id = any ($1)", [ids]);
    await set(idle, "processed_seq = 4, state = 'idle'");
    await set(
      retrying,
      "state = 'retrying', next_attempt_at = now() + interval '1 hour', head_attempts = 1, head_error = 'once'",
    );
    await set(blocked, "state = 'blocked', parked_until = now() + interval '1 hour', head_attempts = 3");
    await set(paused, "paused_at = '2026-01-01T00:00:00.123456Z'");
    await set(dead, "dead = 1");
    await set(waiting, "state = 'waiting', head_target = 'shop'");
    await set(rests, "paused_at = now(), paused_by = 7");
    const before = await everythingOf(a, bucket);
    await withMover(cells, async (mover) => {
      const moved = await mover.move({ bucket, to: "b" });
      assert.deepEqual([moved?.from, moved?.to, moved?.accounts, moved?.events], ["a", "b", 8, 32]);
      assert.equal(await mover.move({ bucket, to: "b" }), undefined);
    });
    const after = await everythingOf(cells.b, bucket);
    const { accounts, ...rest } = after as { accounts: string[] };
    const { accounts: old, ...oldRest } = before as { accounts: string[] };
    assert.deepEqual(rest, oldRest);
    const parse = (rows: string[]) => rows.map((row) => JSON.parse(row) as Record<string, unknown>);
    const changes = new Map<string, Record<string, unknown>>([
      [waiting, { state: "scheduled" }],
      [rests, { paused_at: null, paused_by: null }],
    ]);
    assert.deepEqual(
      parse(accounts),
      parse(old).map((row) => ({ ...row, epoch: Number(row["epoch"]) + 1, ...changes.get(String(row["id"])) })),
    );
    assert.deepEqual(await everythingOf(a, bucket), { accounts: [], events: [], attempts: [], texts: [] });
    for (const name of NAMES) {
      const [known] = await cells[name].query(
        "select cell, epoch::int, moving_to from inturn.buckets where bucket = $1",
        [bucket],
      );
      assert.deepEqual(known, { cell: "b", epoch: 1, moving_to: null });
    }
    const answers = await cells.b.query<{ seq: number }>("select seq::int from inturn.append_event($1, '1')", [
      pending,
    ]);
    assert.deepEqual(answers, [{ seq: 5 }]);
    await assert.rejects(a.query("select inturn.append_event($1, '1')", [pending]), { code: "IT014" });
    const keys = await cells.b.query<{ key: string }>("select key from graphile_worker.jobs order by key");
    const woken = [pending, retrying, dead, waiting, rests].map((id) => `${id}#1`);
    assert.deepEqual(new Set(keys.map(({ key }) => key)), new Set(woken));
  }),
);

test(
  "large events, more of them than are copied together, and pruned ones",
  withCells(async (cells) => {
    const [large = ""] = idsIn("a", 1);
    const bucket = bucketOf(large);
    const other = Array.from({ length: 20_000 }, (_, i) => `many-${i}`).find((id) => bucketOf(id) === bucket) ?? "";
    const { a, b } = cells;
    const text = JSON.stringify("x".repeat(5_000_000));
    await a.query("select inturn.append_events($1, $2::json[])", [
      [large, large, large],
      [text, "1", text],
    ]);
    const ids = Array.from({ length: 5_000 }, () => other);
    await a.query("select inturn.append_events($1, $2::json[])", [ids, ids.map((_, i) => String(i))]);
    await a.query(
      "update inturn.events set outcome = 'processed', processed_at = now() where account_id = $1 and seq <= 4500",
      [other],
    );
    await a.query("update inturn.accounts set processed_seq = 4500, pruned_seq = 100 where id = $1", [other]);
    await a.query("delete from inturn.events where account_id = $1 and seq <= 100 and seq <> 7", [other]);
    await a.query("update inturn.events set outcome = 'dead' where account_id = $1 and seq = 7", [other]);
    await a.query("update inturn.accounts set dead = 1 where id = $1", [other]);
    const before = await everythingOf(a, bucket);
    await withMover(cells, async (mover) => {
      assert.equal((await mover.move({ bucket, to: "b" }))?.events, 4_904);
    });
    const { events, texts } = await everythingOf(b, bucket);
    assert.deepEqual([events, texts], [before["events"], before["texts"]]);
  }),
);

test(
  "a bucket that is frozen takes no event and no verb, for a moment; let go, it does again",
  withCells(async (cells) => {
    const [accountId = ""] = idsIn("a", 1);
    const bucket = bucketOf(accountId);
    const { a } = cells;
    const appender = createAppender(a.database, NO_CAPS);
    await appender.append([newEvent({ accountId })]);
    const moved = { bucket, mover: "me" };
    assert.equal(await beginMove(a.database, moved, "b"), true);
    assert.equal(await beginMove(a.database, { bucket, mover: "you" }, "b"), false);
    // Until it is frozen, events come.
    await appender.append([newEvent({ accountId })]);
    assert.equal(await holdBucket(a.database, moved), 0);
    const freezing = await a.database.connect();
    await freezing.query("begin");
    await freezing.query("select inturn.append_event($1, '1')", [accountId]);
    const freezes = freezeBucket(a.database, moved);
    assert.equal(await Promise.race([freezes, new Promise((resolve) => setTimeout(resolve, 200, "waits"))]), "waits");
    await freezing.query("commit");
    freezing.release();
    await freezes;
    await assert.rejects(appender.append([newEvent({ accountId })]), { code: "bucket_moving" });
    await assert.rejects(a.query("select inturn.append_event($1, '1')", [accountId]), { code: "IT015" });
    await assert.rejects(operate(a.database, { verb: "resume", accountId, who: "me" }), { code: "bucket_moving" });
    assert.equal(await thawBucket(a.database, bucket, "me"), true);
    const [appended] = await appender.append([newEvent({ accountId })]);
    assert.equal(appended?.seq, 4);
    const [account] = await a.query("select state, paused_at from inturn.accounts where id = $1", [accountId]);
    assert.deepEqual(account, { state: "scheduled", paused_at: null });
  }),
);

test(
  "a bucket with a handler that does not end stays where it is, and takes events",
  withCells(async (cells) => {
    const [accountId = ""] = idsIn("a", 1);
    const bucket = bucketOf(accountId);
    await cells.a.query("select inturn.append_event($1, '1')", [accountId]);
    await cells.a.query("update inturn.accounts set state = 'running', lease_worker = gen_random_uuid(), epoch = 1");
    await withMover(
      cells,
      async (mover) => {
        await assert.rejects(mover.move({ bucket, to: "b" }), {
          code: "move_failed",
          message: /1 accounts.*still running/,
        });
      },
      { waitMs: 100 },
    );
    const [known] = await cells.a.query("select is_here, moving_to, is_frozen from inturn.buckets where bucket = $1", [
      bucket,
    ]);
    assert.deepEqual(known, { is_here: true, moving_to: null, is_frozen: false });
    await cells.a.query("select inturn.append_event($1, '1')", [accountId]);
    assert.deepEqual(await cells.b.query("select from inturn.accounts"), []);
  }),
);

test(
  "of two who move one bucket at once, one does, and nothing is lost",
  withCells(async (cells) => {
    const [accountId = ""] = idsIn("a", 1);
    const bucket = bucketOf(accountId);
    const events = Array.from({ length: 300 }, () => accountId);
    await cells.a.query("select inturn.append_events($1, $2::json[])", [events, events.map(() => "1")]);
    for (let round = 0; round < 6; round += 1) {
      const to = round % 2 === 0 ? "b" : "a";
      await withMover(cells, async (one) => {
        await withMover(cells, async (other) => {
          await Promise.allSettled([one.move({ bucket, to }), other.move({ bucket, to })]);
          // Whatever came of it, the next call ends it.
          await one.move({ bucket, to });
        });
      });
      const counts = await Promise.all(
        (["a", "b"] as const).map((name) =>
          cells[name].query<{ n: number }>("select count(*)::int as n from inturn.events"),
        ),
      );
      assert.deepEqual(
        counts.map((rows) => rows[0]?.n),
        to === "b" ? [0, 300] : [300, 0],
      );
    }
  }),
);

test(
  "a mover that was stopped for long can write nothing more, once another one has taken its move over",
  withCells(async (cells) => {
    const [accountId = ""] = idsIn("a", 1);
    const bucket = bucketOf(accountId);
    const { a, b } = cells;
    await a.query("select inturn.append_events($1, $2::json[])", [
      [accountId, accountId],
      ["1", "2"],
    ]);
    const moved = { bucket, mover: "stopped" };
    const copy = { moved, signal: new AbortController().signal, onCopied: () => undefined };
    assert.equal(await beginMove(a.database, moved, "b"), true);
    assert.equal(await expectBucket(b.database, moved), true);
    const settled = await copySettled(a.database, b.database, copy);
    assert.equal(await holdBucket(a.database, moved), 0);
    await freezeBucket(a.database, moved);
    const gaveUp = { code: "move_failed", message: /Somebody else/ };
    const tryEverything = async () => {
      await assert.rejects(copySettled(a.database, b.database, copy), gaveUp);
      await assert.rejects(copyRest(a.database, b.database, { ...copy, settled }), gaveUp);
      await assert.rejects(cleanBucket(b.database, bucket, moved.mover), gaveUp);
      await assert.rejects(cleanBucket(b.database, bucket, null), gaveUp);
      await assert.rejects(holdBucket(a.database, moved), gaveUp);
      await assert.rejects(freezeBucket(a.database, moved), gaveUp);
      assert.equal(await leaveBucket(a.database, moved, "b"), false);
      assert.equal(await thawBucket(a.database, bucket, moved.mover), false);
    };
    // Somebody takes it over, and is at it.
    const other = { bucket, mover: "other" };
    assert.equal(await thawBucket(a.database, bucket, null), true);
    assert.equal(await beginMove(a.database, other, "b"), true);
    assert.equal(await expectBucket(b.database, other), true);
    await tryEverything();
    assert.equal(await thawBucket(a.database, bucket, other.mover), true);
    // And has moved it.
    await withMover(cells, async (mover) => void (await mover.move({ bucket, to: "b" })));
    const before = await everythingOf(b, bucket);
    await assert.rejects(cleanBucket(b.database, bucket, moved.mover), gaveUp);
    await assert.rejects(cleanBucket(b.database, bucket, null), gaveUp);
    await assert.rejects(cleanBucket(a.database, bucket, null), gaveUp);
    assert.equal(await leaveBucket(a.database, moved, "b"), false);
    assert.equal(await thawBucket(a.database, bucket, null), false);
    assert.deepEqual(await everythingOf(b, bucket), before);
  }),
);

test(
  "a mover that dies at any step: the next call ends the move, and nothing is lost",
  withCells(async (cells) => {
    const [accountId = ""] = idsIn("a", 1);
    const bucket = String(bucketOf(accountId));
    await cells.a.query("select inturn.append_events($1, $2::json[])", [
      [accountId, accountId],
      ["1", "2"],
    ]);
    const script = new URL("support/mover-process.ts", import.meta.url).pathname;
    const environment = { INTURN_CELLS: cellsSetting(cells) };
    let to: "a" | "b" = "b";
    for (const step of MOVE_STEPS) {
      const dying = startProcess([bucket, to, step], environment, { script });
      assert.equal(await dying.ended, "SIGKILL", dying.output.stderr);
      const listed = await runProcess(["cells", "list", "--json"], environment);
      const moving = (JSON.parse(listed.stdout) as { moving: number[] }[]).flatMap((cell) => cell.moving);
      assert.deepEqual(moving, [Number(bucket)], step);
      // Another cell has to wait until that is ended; a move that has not left is undone.
      const elsewhere = await runProcess(["cells", "move", "--bucket", bucket, "--to", "c"], environment);
      const hasLeft = step === "handing over" || step === "cleaning up";
      assert.equal(elsewhere.code, hasLeft ? 1 : 0, elsewhere.stderr);
      if (hasLeft) assert.match(elsewhere.stderr, /end that move first.*\[move_failed\]/s);
      const ended = await runProcess(["cells", "move", "--bucket", bucket, "--to", to, "--json"], environment);
      assert.equal(ended.code, 0, ended.stderr);
      const { moved } = JSON.parse(ended.stdout) as { moved: { accounts: number; events: number }[] };
      assert.deepEqual([moved[0]?.accounts, moved[0]?.events], [1, 2], step);
      for (const name of NAMES) {
        const rows = await cells[name].query("select state, paused_at, last_seq::int from inturn.accounts");
        assert.deepEqual(rows, name === to ? [{ state: "scheduled", paused_at: null, last_seq: 2 }] : [], step);
      }
      to = to === "b" ? "a" : "b";
    }
  }),
);

test(
  "buckets are moved at random under load, and their movers are killed: nothing is lost, doubled or out of order",
  withCells(async (cells) => {
    const report = await moveAtRandom(cells, { seed: 1, moves: 6, killed: 0.5, eventsPerSecond: 150 });
    assert.ok(report.kills > 0 && report.events > 0, JSON.stringify(report));
  }),
);
