/**
 * Probes of the engine, second part: how the installed graphile-worker stops, dies, gives up and listens, as far as Inturn
 * relies on it or works around it. A test that fails after an upgrade tells what changed, and what to look at.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import {
  addJob,
  failFirstCompletion,
  readJobs,
  readLocked,
  runAll,
  startRunner,
  untilListening,
  withPlainClient,
} from "./support/graphile-worker.ts";
import type { ProcessPayload } from "./support/graphile-worker-process.ts";
import { startProcess, type TestProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

const SCRIPT = new URL("support/graphile-worker-process.ts", import.meta.url).pathname;
const BATCHED = { completeJobBatchDelay: 0, failJobBatchDelay: 0 };

/** Starts a process with a graphile-worker of its own. */
function startWorkerProcess(db: TestDatabase, options: GraphileConfig.WorkerOptions, task = "probe"): TestProcess {
  return startProcess([JSON.stringify(options)], { DATABASE_URL: db.url, TASK: task }, { script: SCRIPT });
}

const linesOf = (worker: TestProcess) => worker.output.stdout.split("\n").slice(0, -1);
const untilTold = async (worker: TestProcess, line: string) =>
  await until(`a process tells: ${line}`, () => linesOf(worker).includes(line));

// Why we care: it is why an account's truth is a lease of seconds, and why the reconciler adds wake-ups anew instead of
// waiting. Whoever wants to free such locks needs the pool's id: a worker's id is nowhere in the database.
test(
  "kill -9 leaves a job and its queue locked with the pool's id: for 4 hours, or until force_unlock_workers of that id",
  withDatabase(async (db) => {
    const addHeld = "select from graphile_worker.add_job('probe', $1::json, queue_name => 'account')";
    await db.query(addHeld, [JSON.stringify({ n: 1, hold: true } satisfies ProcessPayload & { n: number })]);
    await addJob(db, 2, { queue: "account" });
    const worker = startWorkerProcess(db, {});
    await untilTold(worker, "started");
    worker.child.kill("SIGKILL");
    assert.equal(await worker.ended, "SIGKILL");
    const poolId = linesOf(worker)[0]?.replace("pool ", "");
    assert.match(poolId ?? "", /^pool-[0-9a-f]{18}$/);
    const readLocks = async () =>
      await db.query("select locked_by from graphile_worker._private_job_queues where locked_at is not null");
    assert.deepEqual(await readLocks(), [{ locked_by: poolId }]);
    assert.deepEqual(
      (await readJobs(db)).map((job) => [job.n, job.attempts, job.locked_by]),
      [
        [1, 1, poolId],
        [2, 0, null],
      ],
    );
    await withPlainClient(db, async (client) => {
      const ran: number[] = [];
      const run = async () => await runAll(client, (n) => void ran.push(n));
      const age = async (interval: string) => {
        for (const table of ["jobs", "job_queues"]) {
          await db.query(
            `update graphile_worker._private_${table} set locked_at = now() - $1::interval where locked_at is not null`,
            [interval],
          );
        }
      };
      await age("3 hours 59 minutes");
      await run();
      assert.deepEqual(ran, [], "nobody takes them before");
      await db.query("begin; savepoint aged");
      await db.query("select graphile_worker.force_unlock_workers(array['worker-1', null])");
      assert.deepEqual(await readLocked(db), [1]);
      await db.query("select graphile_worker.force_unlock_workers(array[$1])", [poolId]);
      assert.deepEqual([await readLocked(db), await readLocks()], [[], []]);
    });
  }),
);
