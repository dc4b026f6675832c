/**
 * Probes of the engine, second part: how the installed graphile-worker stops, dies, gives up and listens, as far as Inturn
 * relies on it or works around it. A test that fails after an upgrade tells what changed, and what to look at.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import {
  addJob,
  failFirstCompletion,
  ProbePool,
  readJobs,
  readLocked,
  runAll,
  startRunner,
  stopRunners,
  untilListening,
  withPlainClient,
} from "./support/graphile-worker.ts";
import type { ProcessPayload } from "./support/graphile-worker-process.ts";
import { startProcess, type TestProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

after(stopRunners);

const SCRIPT = new URL("support/graphile-worker-process.ts", import.meta.url).pathname;
const BATCHED = { completeJobBatchDelay: 0, failJobBatchDelay: 0 };

/** Starts a process with a graphile-worker of its own. */
function startWorkerProcess(db: TestDatabase, options: GraphileConfig.WorkerOptions, task = "probe"): TestProcess {
  return startProcess([JSON.stringify(options)], { DATABASE_URL: db.url, TASK: task }, { script: SCRIPT });
}

const linesOf = (worker: TestProcess) => worker.output.stdout.split("\n").slice(0, -1);
const untilTold = async (worker: TestProcess, line: string) =>
  await until(`a process tells: ${line}`, () => linesOf(worker).includes(line));

/** Sets the age of every lock on a job or a queue. */
async function lockAgain(db: TestDatabase, poolId: string, age: string): Promise<void> {
  for (const table of ["jobs", "job_queues"]) {
    await db.query(
      `update graphile_worker._private_${table} set locked_by = $1, locked_at = now() - $2::interval where id = 1`,
      [poolId, age],
    );
  }
}

// Why we care: it is why an account is held by a lease of seconds, and why the reconciler adds a lost wake-up anew instead
// of waiting. Whoever wants to free such locks needs the id of the pool; that of a worker is nowhere in the database.
test(
  "kill -9 leaves a job and its queue locked with the pool's id, for 4 hours or until force_unlock_workers of that id",
  withDatabase(async (db) => {
    await db.query(
      "select from graphile_worker.add_job('probe', '{\"n\": 1, \"hold\": true}', queue_name => 'account')",
    );
    await addJob(db, 2, { queue: "account" });
    const worker = startWorkerProcess(db, {});
    await untilTold(worker, "started");
    worker.child.kill("SIGKILL");
    assert.equal(await worker.ended, "SIGKILL");
    const [poolId = "", workerId] = linesOf(worker).map((line) => line.split(" ")[1]);
    assert.match(poolId, /^pool-[0-9a-f]{18}$/);
    const readOwners = async () => [
      (await readJobs(db)).map((job) => job.locked_by),
      (await db.query("select locked_by from graphile_worker._private_job_queues")).map((queue) => queue["locked_by"]),
    ];
    assert.deepEqual(await readOwners(), [[poolId, null], [poolId]]);
    await withPlainClient(db, async (client) => {
      const ran: number[] = [];
      await lockAgain(db, poolId, "3 hours 59 minutes");
      await runAll(client, (n) => void ran.push(n));
      assert.equal(ran.length, 0);
      await db.query("select graphile_worker.force_unlock_workers(array[$1])", [workerId]);
      assert.deepEqual(await readOwners(), [[poolId, null], [poolId]]);
      await db.query("select graphile_worker.force_unlock_workers(array[$1])", [poolId]);
      assert.deepEqual(await readOwners(), [[null, null], [null]]);
      assert.deepEqual(
        (await readJobs(db)).map((job) => job.attempts),
        [1, 0],
      );
      await lockAgain(db, poolId, "4 hours 1 second");
      await runAll(client, (n) => void ran.push(n));
      assert.deepEqual(ran, [2, 1]);
    });
  }),
);

// Why we care: it is why the preset sets completeJobBatchDelay and failJobBatchDelay to 0.
test(
  "SIGTERM leaves the job in hand locked, done or failed; with batch delays of 0 it is completed, or failed, first",
  withDatabase(async (db) => {
    const cases = [
      { task: "default succeeds", options: {}, fail: false },
      { task: "default fails", options: {}, fail: true },
      { task: "batched succeeds", options: BATCHED, fail: false },
      { task: "batched fails", options: BATCHED, fail: true },
    ];
    const workers = new Map<string, TestProcess>();
    for (const { task, options, fail } of cases) {
      const payload: ProcessPayload = { hold: true, fail };
      await db.query("select from graphile_worker.add_job($1, $2::json)", [task, JSON.stringify(payload)]);
      workers.set(task, startWorkerProcess(db, options, task));
    }
    for (const worker of workers.values()) await untilTold(worker, "started");
    for (const worker of workers.values()) assert.equal(await worker.stop(), "SIGTERM");
    const jobs = await db.query(
      "select task_identifier, locked_by, last_error from graphile_worker.jobs order by task_identifier",
    );
    const poolIdOf = (task: string) => linesOf(workers.get(task) as TestProcess)[0]?.replace("pool ", "");
    assert.deepEqual(jobs, [
      { task_identifier: "batched fails", locked_by: null, last_error: "as told" },
      { task_identifier: "default fails", locked_by: poolIdOf("default fails"), last_error: null },
      { task_identifier: "default succeeds", locked_by: poolIdOf("default succeeds"), last_error: null },
    ]);
  }),
);

// Why we care: a runner that gave up looks like one that was told to stop. It is why startWorker takes any end that nobody
// asked for as a failure, why the preset listens to pool:fatalError, and why a worker then exits with 1.
test(
  "a failed completion, batched: pool:fatalError tells, then runner.promise resolves and the process exits 0",
  withDatabase(async (db) => {
    await failFirstCompletion(db, "57P01");
    await addJob(db, 1);
    const worker = startWorkerProcess(db, BATCHED);
    await worker.ended;
    assert.equal(await worker.ended, 0);
    assert.deepEqual(linesOf(worker).slice(2), ["started", "succeeds", "fatal completeJob", "resolved"]);
    assert.deepEqual(await readLocked(db), [1]);
  }),
);

// Why we care: the other reason for batched completions; there is no event to listen to, and no promise to wait for.
test(
  "a failed completion, not batched: an unhandled rejection ends the process with 1, and no event tells",
  withDatabase(async (db) => {
    await failFirstCompletion(db, "57P01");
    await addJob(db, 1);
    const worker = startWorkerProcess(db, {});
    assert.equal(await worker.ended, 1);
    assert.deepEqual(linesOf(worker).slice(2), ["started", "succeeds"]);
    assert.match(worker.output.stderr, /error: as told[^]*code: '57P01'/);
    assert.deepEqual(await readLocked(db), [1]);
  }),
);

// Why we care: a batch's wait-and-try-again is dead code in 0.18, so one deadlock ends the runner. It is why wake-ups and
// completions must never meet on a row (account#epoch).
test(
  "a deadlock at completion is tried again when not batched, and is fatal at once when batched",
  withDatabase(async (db) => {
    const countCompletions = await failFirstCompletion(db, "40P01");
    await addJob(db, 1);
    const batched = await startRunner(db, () => undefined);
    await until("it has given up", () => batched.end() !== "pending");
    assert.deepEqual([batched.end(), batched.fatal, await countCompletions()], ["resolved", ["completeJob"], 1]);
    assert.deepEqual(await readLocked(db), [1]);
    await db.query("select setval('public.completions', 0)");
    await db.query("select graphile_worker.force_unlock_workers(array[$1])", [batched.poolId]);
    const unbatched = await startRunner(db, () => undefined, { completeJobBatchDelay: -1 });
    await until("it is completed", async () => (await readJobs(db)).length === 0);
    assert.deepEqual([unbatched.end(), unbatched.fatal, await countCompletions()], ["pending", [], 2]);
    await unbatched.runner.stop();
  }),
);

// Why we care: it is why a stop waits for the runner RUNNER_STOP_MS_MAX and no longer.
test(
  "with four jobs in hand at a failed completion the others are completed, and runner.promise settles never",
  withDatabase(async (db) => {
    await failFirstCompletion(db, "57P01");
    const ends = new Map<number, () => void>();
    const hold = async (n: number) => await new Promise<void>((resolve) => ends.set(n, resolve));
    const pgPool = new ProbePool(db.url);
    for (let n = 1; n <= 4; n++) await addJob(db, n);
    const gaveUp = await startRunner(db, hold, { concurrentJobs: 4 }, { pgPool });
    await until("all run", () => ends.size === 4);
    for (let n = 1; n <= 4; n++) {
      ends.get(n)?.();
      if (n === 1) await until("it gives up", () => gaveUp.fatal.length === 1);
      else await until(`job ${n} is completed`, async () => !(await readJobs(db)).some((job) => job.n === n));
      await until("it has heard so", () => pgPool.idleCount === pgPool.totalCount);
      for (let i = 0; i < 10; i++) await nextTurn();
    }
    assert.deepEqual([gaveUp.end(), gaveUp.fatal, await readLocked(db)], ["pending", ["completeJob"], [1]]);
    await pgPool.end();
  }),
);

// Why we care: a worker that wakes up from SIGSTOP deletes the wake-up that another worker is at. So the job is only a
// hint: what may be settled is decided by the account's epoch, and a wake-up lost like this is found by the reconciler.
for (const [outcome, left] of [
  ["a completion", 0],
  ["a failure", 1],
] as const) {
  test(
    `${outcome} by a pool that has lost the job ${left === 0 ? "deletes the row" : "leaves the row alone"} that another pool is at`,
    withDatabase(async (db) => {
      const old = Promise.withResolvers<void>();
      const now = Promise.withResolvers<void>();
      await addJob(db, 1);
      const loser = await startRunner(db, () => old.promise);
      await until("it has the job", async () => (await readLocked(db)).length === 1);
      await db.query("select graphile_worker.force_unlock_workers(array[$1])", [loser.poolId]);
      const owner = await startRunner(db, () => now.promise);
      await until("the other one has it", async () => (await readJobs(db))[0]?.locked_by === owner.poolId);
      if (left === 0) old.resolve();
      else old.reject(new Error("as told"));
      await loser.runner.stop();
      const row = { n: 1, key: null, attempts: 2, max_attempts: 25, locked_by: owner.poolId, last_error: null };
      assert.deepEqual(await readJobs(db), left === 0 ? [] : [row]);
      now.resolve();
      await owner.runner.stop();
      assert.deepEqual([await readJobs(db), owner.fatal, loser.fatal], [[], [], []]);
    }),
  );
}

// Why we care: the preset's poolGracefulShutdown begins the stop before, and closes the worker's connections after.
test(
  "the middleware poolGracefulShutdown goes on when the last job has ended and is completed",
  withDatabase(async (db) => {
    const sequence: string[] = [];
    const { promise: stopping, resolve: beginStop } = Promise.withResolvers<void>();
    const plugin: GraphileConfig.Plugin = {
      name: "ProbePlugin",
      version: "1.0.0",
      worker: {
        middleware: {
          async poolGracefulShutdown(next) {
            sequence.push("the stop begins");
            beginStop();
            await next();
            sequence.push(`the stop ends, jobs left: ${(await readJobs(db)).length}`);
          },
        },
      },
    };
    const task = async () => {
      sequence.push("the job starts");
      await stopping;
      sequence.push("the job ends");
    };
    await addJob(db, 1);
    const { runner } = await startRunner(db, task, {}, { plugins: [plugin] });
    await until("the job has started", () => sequence.length === 1);
    await runner.stop();
    assert.deepEqual(sequence, ["the job starts", "the stop begins", "the job ends", "the stop ends, jobs left: 0"]);
  }),
);

// Why we care: an idle worker starts at once, whatever its poll interval (POLL_MS).
test(
  "the NOTIFY of add_job wakes an idle runner, which fetches once",
  withDatabase(async (db) => {
    const ran: number[] = [];
    const { runner, fetched } = await startRunner(db, (n) => void ran.push(n));
    await untilListening(db);
    await until("it has found nothing", () => fetched.length === 1);
    await addJob(db, 1);
    await until("the job has run", () => ran.length === 1);
    assert.deepEqual(fetched, [0, 1]);
    await runner.stop();
  }),
);

// Why we care: a retry's wake-up becomes due in silence: its start is late by up to POLL_MS.
test(
  "a job whose time comes is told by nobody: it waits for the next poll",
  withDatabase(async (db) => {
    const ran: number[] = [];
    await addJob(db, 1, { runIn: "1 hour" });
    const { runner, fetched } = await startRunner(db, (n) => void ran.push(n), { concurrentJobs: 2 });
    await untilListening(db);
    await until("it has found nothing", () => fetched.length === 1);
    await db.query("update graphile_worker._private_jobs set run_at = now()");
    await addJob(db, 2);
    await until("both have run", () => ran.length === 2);
    assert.deepEqual(fetched, [0, 2]);
    await runner.stop();
  }),
);

// Why we care: a broken connection must not need a restart. Until it is back, a wake-up is late by up to POLL_MS.
test(
  "a runner whose LISTEN connection is killed finds jobs by polling, and listens again by itself",
  withDatabase(async (db) => {
    const ran: number[] = [];
    const pgPool = new ProbePool(db.url);
    const { runner, end } = await startRunner(db, (n) => void ran.push(n), { pollInterval: 20 }, { pgPool });
    const lost = await pgPool.whileDeaf(db, async () => {
      await addJob(db, 1);
      await until("the job has run", () => ran.length === 1);
    });
    assert.notEqual(await untilListening(db, lost), lost);
    assert.equal(end(), "pending");
    await runner.stop();
    await pgPool.end();
  }),
);

// Why we care: after a failover nobody is told what came meanwhile. POLL_MS is what bounds the wait.
test(
  "a runner that listens again does not fetch by itself: what came while it was deaf waits for a poll or a NOTIFY",
  withDatabase(async (db) => {
    const ran: number[] = [];
    const pgPool = new ProbePool(db.url);
    const { runner, fetched } = await startRunner(db, (n) => void ran.push(n), { concurrentJobs: 2 }, { pgPool });
    await until("it has found nothing", () => fetched.length === 1);
    const lost = await pgPool.whileDeaf(db, async () => void (await addJob(db, 1)));
    await untilListening(db, lost);
    await addJob(db, 2);
    await until("both have run", () => ran.length === 2);
    assert.deepEqual(fetched, [0, 2]);
    await runner.stop();
    await pgPool.end();
  }),
);
