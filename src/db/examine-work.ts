/** What `doctor` looks at in our own tables: whether they may be used, and whether the work goes on. */
import { formatDuration } from "../domain/duration.ts";
import { LEASE_TIMES } from "../domain/lease-times.ts";
import { type Check, ok, readRow } from "./examine-check.ts";
import { PRIVILEGES } from "./examine-privileges.ts";
import { IS_STRANDED } from "./wake-ups.ts";

/** Fewer old versions of rows are normal, whatever their share. */
const DEAD_ROWS_MIN = 100_000;

const DEAD_ROWS: Check = {
  check: "dead-rows",
  look: async (client) => {
    const { tables } = await readRow<{ tables: string[] | null }>(
      client,
      `select array_agg(format('%I.%I (%s)', t.schemaname, t.relname, t.n_dead_tup) order by t.n_dead_tup desc) as tables
       from pg_stat_all_tables as t
       where t.schemaname in ('inturn', 'graphile_worker') and t.n_dead_tup > $1 and t.n_dead_tup > t.n_live_tup`,
      [DEAD_ROWS_MIN],
    );
    if (tables === null) return ok("no table holds more old versions of rows than rows");
    const found = `more old versions of rows than rows: ${tables.join(", ")}`;
    const advice = "Look for an old snapshot first; else let autovacuum run more often, or `vacuum` the tables now.";
    return { level: "warning", found, advice };
  },
};

const STUCK_JOBS: Check = {
  check: "stuck-jobs",
  look: async (client) => {
    const { jobs, seconds } = await readRow<{ jobs: number; seconds: number | null }>(
      client,
      `select count(*)::integer as jobs, extract(epoch from now() - min(j.locked_at))::double precision as seconds
       from graphile_worker.jobs as j where ${IS_STRANDED}`,
    );
    if (jobs === 0) return ok("no wake-up is locked by a process that is gone");
    const found = `${jobs} wake-ups are locked by processes that are gone, for ${formatDuration(1_000 * (seconds ?? 0))} at most`;
    return { level: "warning", found, advice: "A worker that runs frees them within a minute: start one." };
  },
};

const WORKERS: Check = {
  check: "workers",
  look: async (client) => {
    const { live, silent, due } = await readRow<{ live: number; silent: number; due: boolean }>(
      client,
      `select count(*) filter (where w.renewed_at > now() - $1 * interval '1 millisecond')::integer as live,
         count(*) filter (where w.renewed_at <= now() - $1 * interval '1 millisecond')::integer as silent,
         exists (select from inturn.accounts as a where a.state in ('scheduled', 'running')) as due
       from inturn.workers as w`,
      [LEASE_TIMES.vanishedMs],
    );
    const found = `${live} live, ${silent} silent`;
    if (live > 0 || !due) return ok(found);
    return {
      level: "problem",
      found: `${found}; accounts are due, and nobody handles them`,
      advice: "Start a worker.",
    };
  },
};

const MOVES: Check = {
  check: "moves",
  look: async (client) => {
    const { buckets, isMoved } = await readRow<{ buckets: string[] | null; isMoved: boolean }>(
      client,
      `select (select array_agg(format('%s to %s', b.bucket, b.moving_to) order by b.bucket) from inturn.buckets as b
           where b.moving_to is not null) as buckets,
         exists (select from pg_stat_activity as s where s.application_name = 'inturn cells' and s.datname = current_database()) as "isMoved"`,
    );
    if (buckets === null) return ok("no bucket is being moved away");
    if (isMoved) return ok(`buckets are being moved: ${buckets.join(", ")}`);
    return {
      level: "warning",
      found: `buckets are to be moved, and nobody does it: ${buckets.join(", ")}; their accounts may be held`,
      advice: "The command that did it has died: run `inturn cells move --bucket … --to …` again.",
    };
  },
};

/** In the order in which they are told. */
export const WORK_CHECKS: readonly Check[] = [PRIVILEGES, DEAD_ROWS, STUCK_JOBS, MOVES, WORKERS];
