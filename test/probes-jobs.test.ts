/**
 * Probes of the engine, first part: what the installed graphile-worker does with jobs, keys, queues and locks, as far as
 * Inturn relies on it or works around it. A test that fails after an upgrade tells what changed, and what to look at.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import {
  addJob,
  readJobs,
  readLocked,
  runAll,
  startRunner,
  stopRunners,
  untilBlocked,
  untilListening,
  withPlainClient,
} from "./support/graphile-worker.ts";
import { until } from "./support/until.ts";

after(stopRunners);

/** The queues whose row nobody holds. */
async function freeQueues(db: TestDatabase): Promise<string[]> {
  const rows = await db.query<{ queue_name: string }>(
    "select queue_name from graphile_worker._private_job_queues order by queue_name for update skip locked",
  );
  return rows.map((row) => row.queue_name);
}

// Why we care: it is why an account is no named queue (README, "How it works"). A fetch would hold every idle account.
test(
  "a fetch that meets a job in a named queue locks the row of every available queue, with jobs or without",
  withDatabase(async (db) => {
    for (const queue of ["a", "b", "c", "d"]) await addJob(db, 1, { queue });
    await db.query("delete from graphile_worker._private_jobs where job_queue_id > 1");
    await db.query(`update graphile_worker._private_job_queues set locked_at = now(), locked_by = 'somebody'
      where queue_name = 'd'`);
    await withPlainClient(db, async (client) => {
      await client.query("begin");
      let free: string[] | undefined;
      await runAll(client, async () => void (free = await freeQueues(db)));
      assert.deepEqual(free, ["d"]);
    });
  }),
);

// Why we care: Inturn's jobs are in no queue, so queue rows that somebody else left behind cost them nothing.
test(
  "a fetch that meets no job in a named queue locks no queue row",
  withDatabase(async (db) => {
    await addJob(db, 1, { queue: "a" });
    await db.query("delete from graphile_worker._private_jobs");
    await addJob(db, 2);
    await withPlainClient(db, async (client) => {
      await client.query("begin");
      let free: string[] | undefined;
      await runAll(client, async () => void (free = await freeQueues(db)));
      assert.deepEqual(free, ["a"]);
    });
  }),
);

// Why we care: it is why order is kept by the account row (processed_seq), and a wake-up never fails on purpose.
test(
  "a job in a named queue that fails once is overtaken by all the later ones: 1F, 2, 3, 4, 5, 1",
  withDatabase(async (db) => {
    for (let n = 1; n <= 5; n++) await addJob(db, n, { queue: "account" });
    const sequence: string[] = [];
    const task = (n: number) => {
      sequence.push(sequence.length === 0 ? `${n}F` : String(n));
      if (sequence.length === 1) throw new Error("as told");
    };
    await withPlainClient(db, async (client) => {
      await runAll(client, task);
      assert.deepEqual(await readJobs(db), [
        { n: 1, key: null, attempts: 1, max_attempts: 25, locked_by: null, last_error: "as told" },
      ]);
      await client.query(
        "select graphile_worker.reschedule_jobs(array(select id from graphile_worker.jobs), run_at => now())",
      );
      await runAll(client, task);
    });
    assert.deepEqual(sequence, ["1F", "2", "3", "4", "5", "1"]);
  }),
);

// Why we care: a job key is no mutual exclusion. One turn per account comes from the claim (epoch, lease), not from the key.
test(
  "a job key that is added again while its job runs starts a second job beside the first",
  withDatabase(async (db) => {
    const sequence: string[] = [];
    const { promise: firstEnded, resolve: endFirst } = Promise.withResolvers<void>();
    const { runner } = await startRunner(
      db,
      async (n) => {
        sequence.push(`${n} starts`);
        if (n === 1) {
          await addJob(db, 2, { key: "account" });
          await until("the second runs too", () => sequence.includes("2 starts"));
        } else {
          await firstEnded;
        }
        sequence.push(`${n} ends`);
        endFirst();
      },
      { concurrentJobs: 2 },
    );
    await untilListening(db);
    await addJob(db, 1, { key: "account" });
    await until("both have ended", () => sequence.length === 4);
    assert.deepEqual(sequence, ["1 starts", "2 starts", "1 ends", "2 ends"]);
    await runner.stop();
    assert.deepEqual(await readJobs(db), []);
  }),
);

/** Calls this SQL while a fetch that has locked the job with key `k` has not committed, and returns the rows. */
async function queryDuringFetch(db: TestDatabase, text: string): Promise<unknown[]> {
  await addJob(db, 1, { key: "k" });
  let rows: unknown[] = [];
  await withPlainClient(db, async (fetching) => {
    await withPlainClient(db, async (adding) => {
      const { rows: pids } = await adding.query<{ pid: number }>("select pg_backend_pid() as pid");
      await fetching.query("begin");
      await runAll(fetching, async () => {
        const added = adding.query<Record<string, unknown>>(text);
        await untilBlocked(db, pids[0]?.pid ?? 0);
        await fetching.query("commit");
        ({ rows } = await added);
      });
    });
  });
  return rows;
}

// Why we care (graphile/worker #580): it is why the key of a wake-up is account#epoch, and why the reconciler exists.
test(
  "add_job returns a row of NULLs and schedules nothing, when its key's job is being fetched at that moment",
  withDatabase(async (db) => {
    const rows = await queryDuringFetch(
      db,
      "select id, task_id, key, run_at from graphile_worker.add_job('probe', '{\"n\": 2}', job_key => 'k')",
    );
    assert.deepEqual(rows, [{ id: null, task_id: null, key: null, run_at: null }]);
    assert.deepEqual(await readJobs(db), []);
  }),
);

// Why we care: inturn.wake adds many at once and counts the rows. A wake-up that got lost must not take others with it.
test(
  "add_jobs leaves out the row of a key whose job is being fetched at that moment, and adds the others",
  withDatabase(async (db) => {
    const rows = await queryDuringFetch(
      db,
      `select key from graphile_worker.add_jobs(array(
        select row('probe', '{"n": 2}', null, now() + interval '1 hour', null, k, null, null)::graphile_worker.job_spec
        from unnest(array['j', 'k', 'l']) as k))`,
    );
    assert.deepEqual(rows, [{ key: "j" }, { key: "l" }]);
    assert.deepEqual(
      (await readJobs(db)).map((job) => job.key),
      ["j", "l"],
    );
  }),
);

// Why we care: a key that came back would leave such a row behind for each wake-up of a lost worker. The reconciler must
// not take it for a wake-up on its way: it looks for the key, and for attempts that are left.
test(
  "add_job with the key of a locked job adds a second row; the first loses its key and all its attempts for good",
  withDatabase(async (db) => {
    await withPlainClient(db, async (client) => {
      await addJob(db, 1, { key: "k" });
      await db.query("update graphile_worker._private_jobs set locked_at = now(), locked_by = 'lost', attempts = 1");
      await addJob(db, 2, { key: "k" });
      const junk = { n: 1, key: null, attempts: 25, max_attempts: 25, last_error: null };
      assert.deepEqual(await readJobs(db), [
        { ...junk, locked_by: "lost" },
        { n: 2, key: "k", attempts: 0, max_attempts: 25, locked_by: null, last_error: null },
      ]);
      await db.query("select graphile_worker.force_unlock_workers(array['lost'])");
      const ran: number[] = [];
      await runAll(client, (n) => void ran.push(n));
      assert.deepEqual(ran, [2]);
      assert.deepEqual(await readJobs(db), [{ ...junk, locked_by: null }]);
    });
  }),
);

// Why we care: nobody can tidy up behind a lost worker with the public functions before the 4 hours are over.
test(
  "complete_jobs leaves a job alone that is locked, until the lock is 4 hours old",
  withDatabase(async (db) => {
    const complete = "select (payload ->> 'n')::integer as n from graphile_worker.complete_jobs(array[$1::bigint])";
    const id = await addJob(db, 1);
    const lock = "update graphile_worker._private_jobs set locked_by = 'lost', locked_at = now() - $1::interval";
    await db.query(lock, ["3 hours 59 minutes"]);
    assert.deepEqual(await db.query(complete, [id]), []);
    await db.query(lock, ["4 hours 1 second"]);
    assert.deepEqual(await db.query(complete, [id]), [{ n: 1 }]);
  }),
);

// Why we care: a retry's wake-up is a job with run_at = next_attempt_at.
test(
  "a job that add_jobs put into the future is not fetched before its time",
  withDatabase(async (db) => {
    await db.query(`select from graphile_worker.add_jobs(array[
      row('probe', '{"n": 1}', null, now() + interval '1 minute', null, null, null, null)::graphile_worker.job_spec,
      row('probe', '{"n": 2}', null, null, null, null, null, null)::graphile_worker.job_spec])`);
    const ran: number[] = [];
    await withPlainClient(db, async (client) => {
      await runAll(client, (n) => void ran.push(n));
      assert.deepEqual(ran, [2]);
      await db.query("update graphile_worker._private_jobs set run_at = run_at - interval '1 minute'");
      await runAll(client, (n) => void ran.push(n));
    });
    assert.deepEqual(ran, [2, 1]);
  }),
);

// Why we care: many worker processes fetch at once, and none waits for another.
test(
  "two fetches at once get different jobs, and neither waits for a row that somebody has locked",
  withDatabase(async (db) => {
    for (let n = 1; n <= 5; n++) await addJob(db, n);
    const ran: Record<string, number[]> = { first: [], second: [] };
    await withPlainClient(db, async (first) => {
      await withPlainClient(db, async (second) => {
        await withPlainClient(db, async (somebody) => {
          await somebody.query("begin");
          await somebody.query("select from graphile_worker._private_jobs where payload ->> 'n' = '3' for update");
          await first.query("begin");
          await second.query("set lock_timeout = '5s'");
          const batch = { localQueue: { size: 2 } };
          await runAll(
            first,
            async (n) => {
              if (n === 1) await runAll(second, (m) => void ran["second"]?.push(m), batch);
              ran["first"]?.push(n);
            },
            batch,
          );
          await first.query("commit");
        });
      });
    });
    assert.deepEqual(ran, { first: [1, 2], second: [4, 5] });
    assert.deepEqual(
      (await readJobs(db)).map((job) => job.n),
      [3],
    );
  }),
);

// Why we care: Inturn sets concurrentJobs; left out, a worker process would hold one account at a time.
test(
  "concurrentJobs is 1 by default: one worker, one job locked at a time",
  withDatabase(async (db) => {
    for (let n = 1; n <= 3; n++) await addJob(db, n);
    const locked: number[][] = [];
    const { runner } = await startRunner(db, async () => void locked.push(await readLocked(db)), {
      localQueue: { size: -1 },
      completeJobBatchDelay: -1,
      // One connection listens, so the other one completes a job before it fetches the next.
      maxPoolSize: 2,
    });
    await until("all are done", async () => (await readJobs(db)).length === 0);
    assert.deepEqual(locked, [[1], [2], [3]]);
    await runner.stop();
  }),
);

// Why we care: an account id has up to 250 characters of any kind, and its epoch is appended; the task's name is ours.
test(
  "a job key may have 512 characters, 4 bytes each, and the names of tasks and queues 128",
  withDatabase(async (db) => {
    await addJob(db, 1, { key: "😀".repeat(512), task: "t".repeat(128), queue: "q".repeat(128) });
    assert.equal((await readJobs(db)).length, 1);
    const tooLong = async (options: { key?: string; task?: string; queue?: string }, constraint: string) =>
      await assert.rejects(addJob(db, 2, options), { code: "23514", constraint });
    await tooLong({ key: "k".repeat(513) }, "jobs_key_check");
    await tooLong({ key: "" }, "jobs_key_check");
    await tooLong({ task: "t".repeat(129) }, "tasks_identifier_check");
    await tooLong({ queue: "q".repeat(129) }, "job_queues_queue_name_check");
  }),
);

// Why we care: with a local queue one fetch serves a thousand places. Whoever is told to stop must give the rest back; a
// killed process cannot, which the reconciler heals (FETCHED_JOB_SECONDS_MAX).
test(
  "a local queue locks what it has fetched for later, and a stop gives it back, with its attempts",
  withDatabase(async (db) => {
    for (let n = 1; n <= 3; n++) await addJob(db, n);
    const { promise: told, resolve: end } = Promise.withResolvers<void>();
    let started = false;
    const { runner, poolId } = await startRunner(db, async () => {
      started = true;
      await told;
    });
    await until("the first has started", () => started);
    const read = async () => (await readJobs(db)).map((job) => [job.n, job.attempts, job.locked_by]);
    assert.deepEqual(await read(), [
      [1, 1, poolId],
      [2, 1, poolId],
      [3, 1, poolId],
    ]);
    const stopped = runner.stop();
    await until("it has given back", async () => (await readLocked(db)).length < 3);
    assert.deepEqual(await read(), [
      [1, 1, poolId],
      [2, 0, null],
      [3, 0, null],
    ]);
    end();
    await stopped;
    assert.deepEqual(await read(), [
      [2, 0, null],
      [3, 0, null],
    ]);
  }),
);

// Why we care: a wake-up fetched by a crowded worker goes to others after FETCHED_MS_MAX, well before the reconciler looks.
test(
  "a local queue gives back what it could not use within its ttl, with its attempts, and fetches again when it has room",
  withDatabase(async (db) => {
    for (let n = 1; n <= 3; n++) await addJob(db, n);
    const { promise: told, resolve: end } = Promise.withResolvers<void>();
    const { runner, poolId, fetched } = await startRunner(db, () => told, { localQueue: { size: 10, ttl: 50 } });
    await until("it has given back", async () => (await readLocked(db)).length === 1);
    assert.deepEqual(
      (await readJobs(db)).map((job) => [job.n, job.attempts, job.locked_by]),
      [
        [1, 1, poolId],
        [2, 0, null],
        [3, 0, null],
      ],
    );
    assert.deepEqual(fetched, [3]);
    end();
    await until("all are done", async () => (await readJobs(db)).length === 0);
    assert.deepEqual(fetched.slice(0, 2), [3, 2]);
    await runner.stop();
  }),
);

// Why we care: a thousand places that polled one by one would be a thousand queries at each poll.
test(
  "without a local queue every idle place fetches for itself; with one, a single fetch serves all",
  withDatabase(async (db) => {
    const countFetches = async (localQueue: { size: number }) => {
      let empty = 0;
      const { runner, events, fetched } = await startRunner(db, () => undefined, { concurrentJobs: 20, localQueue });
      events.on("worker:getJob:empty", () => empty++);
      await until("every place has heard that there is nothing", () => empty === 20 || fetched.length > 0);
      const fetches = fetched.length > 0 ? fetched.length : empty;
      await runner.stop();
      return fetches;
    };
    assert.equal(await countFetches({ size: -1 }), 20);
    assert.equal(await countFetches({ size: 20 }), 1);
  }),
);
