/** An account is removed as if it had never been, and whoever held it long ago settles nothing of what comes after. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { verify } from "../src/demo/verify.ts";
import { createInturn } from "../src/index.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { runProcess } from "./support/process.ts";
import { until } from "./support/until.ts";
import { accountRow, appendTo, createTestWorker, wellDone } from "./support/worker.ts";

/** Every row of every table of both schemas, as text. */
async function dumpAll(db: TestDatabase): Promise<string> {
  const tables = await db.query<{ name: string }>(
    `select format('%I.%I', n.nspname, c.relname) as name from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
     where n.nspname in ('inturn', 'graphile_worker') and c.relkind = 'r'`,
  );
  const dumps = tables.map(async ({ name }) => {
    const rows = await db.query<{ row: string }>(`select t::text as row from ${name} as t`);
    return rows.map(({ row }) => `${name}: ${row}`);
  });
  return (await Promise.all(dumps)).flat().join("\n");
}

const promiseOf = ({ lost, duplicates, orderViolations, overlaps }: Awaited<ReturnType<typeof verify>>) => ({
  lost,
  duplicates,
  orderViolations,
  overlaps,
});

const KEPT = { lost: 0, duplicates: 0, orderViolations: 0, overlaps: 0 };

test(
  "events that failed, wait, or are dead, attempts, records and wake-ups go; the others stay; verify is content",
  withDatabase(async (db) => {
    const inturn = createInturn({
      databaseUrl: db.url,
      logLevel: "silent",
      backoffMs: 600_000,
      eventTypes: { dies: { attemptsMax: 1, failurePolicy: "dead-letter" } },
      handler: ({ type, accountId }) => {
        if (type !== null) throw new Error(`not for ${accountId}`);
      },
    });
    try {
      await inturn.startWorker();
      const events = [null, "dies", null, "fails", null].flatMap((type, i) =>
        ["someone@example.com", "b"].map((accountId) => ({
          accountId,
          id: `e${i}`,
          data: { accountId },
          ...(type !== null && { type }),
        })),
      );
      await inturn.append(events);
      const state = async () => (await accountRow(db, "someone@example.com"))?.["state"];
      await until("the fourth one waits", async () => (await state()) === "retrying");
      await inturn.operate({ verb: "pause", accountId: "someone@example.com" });
      await inturn.operate({ verb: "resume", accountId: "someone@example.com" });
    } finally {
      await inturn.stop();
    }
    const begun = await db.query(`select matched from inturn.operate('retry', '{"states": ["retrying"]}')`);
    assert.deepEqual(begun, [{ matched: 2 }]);
    assert.match(await dumpAll(db), /someone@example\.com/);

    const environment = { DATABASE_URL: db.url };
    const asked = await runProcess(["erase", "someone@example.com"], environment);
    assert.match(asked.stdout, /has 5 events\. To remove all of it for ever, add --yes\./);
    assert.equal((await accountRow(db, "someone@example.com"))?.["last_seq"], 5);
    const done = await runProcess(["erase", "someone@example.com", "--yes", "--json"], environment);
    assert.deepEqual(JSON.parse(done.stdout), { accountId: "someone@example.com", events: 5, erased: true });
    assert.doesNotMatch(await dumpAll(db), /someone@example\.com/);
    assert.equal((await accountRow(db, "b"))?.["last_seq"], 5);
    assert.deepEqual(promiseOf(await verify(db.database)), KEPT);

    const again = await runProcess(["erase", "someone@example.com", "--yes"], environment);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /there is no account .* \[account_not_found\]/);
  }),
);

test(
  "not while an event is being handled; and a lease of before settles nothing of the account that comes after",
  withDatabase(async (db) => {
    const old = await createTestWorker(db);
    const heir = await createTestWorker(db);
    await appendTo(db, "a");
    const lease = await old.options.ledger.claim("a");
    assert.ok(lease !== undefined && "epoch" in lease);
    await assert.rejects(db.query("select inturn.erase('a')"), { code: "IT002" });
    // Its worker was taken for dead, and its heir has given the account back.
    await db.query("update inturn.accounts set state = 'scheduled', lease_worker = null where id = 'a'");
    assert.deepEqual(await db.query("select inturn.erase('a') as events"), [{ events: 1 }]);

    await appendTo(db, "a", "a");
    const next = await heir.options.ledger.claim("a");
    assert.ok(next !== undefined && "epoch" in next);
    assert.ok(next.epoch > lease.epoch, `${next.epoch} is beyond ${lease.epoch}`);
    const { epoch } = lease;
    assert.equal(await old.options.ledger.settle(wellDone({ accountId: "a", epoch, seq: 1 })), undefined);
    assert.ok(await heir.options.ledger.settle(wellDone({ accountId: "a", epoch: next.epoch, seq: 1 })));
    assert.deepEqual(promiseOf(await verify(db.database)), KEPT);
  }),
);

test(
  "erased again and again while events come: each life of the account has the seqs 1, 2, 3, … and a higher epoch",
  withDatabase(async (db) => {
    const seen: { seq: number; epoch: number; life: string }[] = [];
    const inturn = createInturn({
      databaseUrl: db.url,
      logLevel: "silent",
      handler: ({ seq, data }, { epoch }) => void seen.push({ seq, epoch, life: String(data) }),
    });
    try {
      await inturn.startWorker();
      const over = new AbortController();
      const sending = (async () => {
        for (let n = 0; !over.signal.aborted; n += 1) {
          await inturn.append([{ accountId: "a", data: n }]);
          // Now and then nothing is in hand.
          await sleep(n % 20);
        }
      })();
      let erased = 0;
      await until("it was erased twenty times", async () => {
        const rows = await db.query("select inturn.erase('a')").catch(() => []);
        erased += rows.length;
        return erased >= 20;
      });
      over.abort();
      await sending;
      await until(
        "all is handled",
        async () => (await accountRow(db, "a"))?.["state"] !== "running" && (await inturn.status()).backlog === 0,
      );
    } finally {
      await inturn.stop();
    }
    assert.ok(seen.length > 20);
    let last = { seq: 0, epoch: -1 };
    for (const { seq, epoch } of seen) {
      const isNewLife = seq <= last.seq;
      assert.ok(isNewLife ? epoch > last.epoch : epoch >= last.epoch, JSON.stringify({ seq, epoch, last }));
      last = { seq, epoch };
    }
    assert.deepEqual(promiseOf(await verify(db.database)), KEPT);
  }),
);
