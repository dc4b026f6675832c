/**
 * graphile-worker's tables are emptied while workers run, its list of tasks included, as a restore without them does.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

const GRAPHILE_WORKER = new URL("../node_modules/graphile-worker/dist/cli.js", import.meta.url).pathname;
const PROJECT = new URL("..", import.meta.url).pathname;

const environmentFor = (db: TestDatabase) => ({
  DATABASE_URL: db.url,
  INTURN_HANDLER: "sleep",
  INTURN_HANDLER_MS: "0",
});

for (const [name, start] of [
  ["work", (db: TestDatabase) => startProcess(["work"], environmentFor(db))],
  [
    "plain graphile-worker",
    (db: TestDatabase) => startProcess([], environmentFor(db), { script: GRAPHILE_WORKER, cwd: PROJECT }),
  ],
] as const) {
  test(
    `${name} goes on by itself after its queue was emptied, what was due and what comes later`,
    withDatabase(async (db) => {
      const worker = start(db);
      const untilIdle = () =>
        until("everything is settled", async () => {
          const [row] = await db.query<{ left: number }>(
            "select count(*) as left from inturn.accounts where state <> 'idle'",
          );
          return Number(row?.left) === 0;
        });
      await db.query("select from inturn.append_events(array['a', 'b'], array['1', '1']::json[])");
      await untilIdle();
      for (let time = 0; time < 2; time++) {
        await db.query(`
          begin;
          select from inturn.append_events(array['a', 'c'], array['1', '1']::json[]);
          truncate graphile_worker._private_jobs, graphile_worker._private_tasks cascade;
          commit`);
        await db.query("select from inturn.append_event('b', '1')");
        await untilIdle();
      }
      const rows = await db.query("select account_id, processed from inturn.account_results order by 1");
      assert.deepEqual(rows, [
        { account_id: "a", processed: 3 },
        { account_id: "b", processed: 3 },
        { account_id: "c", processed: 2 },
      ]);
      const ended = await worker.stop();
      if (name === "work") assert.equal(ended, 0);
      assert.deepEqual(await db.query("select * from inturn.workers"), []);
    }),
  );
}

test(
  "a worker's /readyz and metrics say that accounts are due and none is taken",
  withDatabase(async (db) => {
    const worker = startProcess(["work"], { ...environmentFor(db), INTURN_METRICS_PORT: "0" });
    const { url = "" } = await worker.ready;
    assert.equal((await fetch(`${url}/readyz`)).status, 200);
    // Somebody keeps graphile-worker from its jobs; accounts are found due all the same.
    await db.query("create function public.skip() returns trigger language plpgsql as 'begin return null; end'");
    await db.query(
      `create trigger away before update on graphile_worker._private_jobs
       for each row when (new.locked_at is not null) execute function public.skip()`,
    );
    await db.query("select from inturn.append_event('a', '1')");
    const response = await until("it is not ready", async () => {
      const answer = await fetch(`${url}/readyz`);
      return answer.status === 503 && answer;
    });
    assert.equal(((await response.json()) as { code: string }).code, "worker_not_ready");
    const metrics = await (await fetch(`${url}/metrics`)).text();
    assert.match(metrics, /^inturn_worker_stalled_seconds 1\d/m);
    await until("its log says so", () =>
      worker.output.stderr.includes("accounts are due and this worker has free slots"),
    );
    await db.query("drop trigger away on graphile_worker._private_jobs");
    await until("it is ready again", async () => (await fetch(`${url}/readyz`)).status === 200);
    assert.equal(await worker.stop(), 0);
  }),
);
