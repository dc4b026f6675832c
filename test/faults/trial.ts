/**
 * One run of one scenario: the fault first, then everything is healed and the backlog must drain, then the checker judges.
 */
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { Bench, type BenchOptions, type Part } from "./bench.ts";
import { check, type Verdict } from "./check.ts";
import { NO_HISTORY } from "./history.ts";
import type { Scenario } from "./scenario.ts";

/** What a run came to. */
export interface Trial extends Verdict {
  readonly scenario: Scenario;
  readonly seed: number;
  readonly seconds: number;
  /** What the clients sent and what they were told. */
  readonly ledger: { readonly acknowledged: number; readonly refused: number; readonly unknown: number };
  readonly isRed: boolean;
}

/** After the healing, everything that was sent must be answered, and then handled, within this time each. */
const ANSWERED_MS_MAX = 15_000;
const DRAINED_MS_MAX = 15_000;

/** A part that is told to stop has its `INTURN_SHUTDOWN_MS` and this long besides. */
const STOPPED_MS_MAX = 6_000;

/** Connections of one part, with a margin: its pools can hold no more. */
const CONNECTIONS_PER_PART_MAX = 40;

const RSS_MB_MAX = 500;

/** Runs a scenario once. Never rejects: what fails is a problem of the run. */
export async function tryOnce(scenario: Scenario, seed: number, options: BenchOptions): Promise<Trial> {
  const startedMs = performance.now();
  const bench = new Bench(options);
  const problems: string[] = [];
  const note = (what: string) => (error: unknown) =>
    void problems.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  let sent: Awaited<ReturnType<Bench["clients"]["finish"]>> = [];
  let verdict: Verdict | undefined;
  let left: string | undefined;
  try {
    await bench.open({ empty: scenario.startsEmpty === true, hasCells: scenario.hasCells === true });
    await scenario.run(bench).catch(note("scenario"));
    await bench.heal();
    sent = await bench.clients.finish(ANSWERED_MS_MAX);
    left = await untilDrained(bench);
    await bench.beginEnd();
    problems.push(...(await checkHealth(bench)), ...(await stopAll(bench)));
    verdict = check(await bench.collect(sent));
  } catch (error) {
    note("harness")(error);
  } finally {
    await bench.heal().catch(note("healing"));
    await bench.close().catch(note("closing"));
  }
  verdict ??= check(NO_HISTORY);
  const all = [...problems, ...verdict.problems];
  if (left !== undefined) all.push(left);
  if (all.length > 0) all.push(...tellOutput(bench.parts));
  const count = (outcome: string) => sent.filter((event) => event.outcome === outcome).length;
  return {
    ...verdict,
    problems: all,
    isRed: all.length > 0,
    scenario,
    seed,
    seconds: (performance.now() - startedMs) / 1_000,
    ledger: { acknowledged: count("acknowledged"), refused: count("refused"), unknown: count("unknown") },
  };
}

/** Waits until nothing waits, except where it is meant to. The checker counts what is left; what it waits for is told here. */
async function untilDrained(bench: Bench): Promise<string | undefined> {
  const deadlineMs = performance.now() + (bench.demands.drainMsMax ?? DRAINED_MS_MAX);
  while (performance.now() < deadlineMs) {
    const rows = await bench.everywhere<{ left: number }>(
      `select count(*)::float8 as left from inturn.account_results
       where (account_id <> all ($1) and (pending > 0 or state <> 'idle')) or (account_id = any ($1) and state <> 'blocked')`,
      [bench.demands.blocked ?? []],
    );
    if (rows.every(({ left }) => left === 0)) return undefined;
    await sleep(50);
  }
  return `log of what is left: ${JSON.stringify(await diagnose(bench))}`;
}

/** What the tables show of a backlog that does not drain. */
async function diagnose(bench: Bench): Promise<Record<string, unknown>> {
  const questions = {
    accounts:
      "select id, state, epoch, processed_seq, last_seq, lease_worker, next_attempt_at, head_error from inturn.accounts where state <> 'idle' limit 5",
    workers: "select id, pid, life_key, lease_expires_at - clock_timestamp() as left from inturn.workers",
    jobs: "select key, attempts, run_at, locked_at, locked_by from graphile_worker.jobs limit 5",
    connections:
      "select application_name, state, wait_event, count(*), left(max(query), 60) as query from pg_stat_activity where datname = current_database() and usename <> 'postgres' group by 1, 2, 3",
  };
  const answers = Object.entries(questions).map(async ([what, text]) => [what, await bench.everywhere(text)] as const);
  return Object.fromEntries(await Promise.all(answers));
}

/** Who should live does, and holds no more than it should. */
async function checkHealth(bench: Bench): Promise<string[]> {
  const problems: string[] = [];
  for (const part of bench.parts) {
    if (part.deathMs !== undefined && !part.isDismissed && bench.demands.mayExit !== true)
      problems.push(`exit: a ${part.kind} process ended by itself with ${await part.process.ended}`);
    const megabytes = part.deathMs === undefined ? await readRssMegabytes(part.pid) : 0;
    if (megabytes > RSS_MB_MAX) problems.push(`memory: a ${part.kind} process has ${Math.round(megabytes)} MB`);
  }
  const counts = await bench.everywhere<{ connections: number }>(
    "select count(*)::float8 as connections from pg_stat_activity where datname = current_database() and usename <> 'postgres'",
  );
  const connectionsMax = CONNECTIONS_PER_PART_MAX * bench.left.length;
  for (const { connections } of counts.filter((count) => count.connections > connectionsMax))
    problems.push(`connections: there are ${connections}, ${connectionsMax} at most were expected`);
  return problems;
}

async function readRssMegabytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1_024;
}

/** Everybody leaves in peace: exit 0, in time. */
async function stopAll(bench: Bench): Promise<string[]> {
  const ends = await Promise.all(
    bench.left.map(async (part) => {
      const late = new AbortController();
      const end = await Promise.race([
        bench.dismiss(part),
        sleep(STOPPED_MS_MAX, "late" as const, { signal: late.signal }),
      ]);
      late.abort();
      return end === 0 ? [] : [`exit: a ${part.kind} process told to stop ended with ${end}`];
    }),
  );
  return ends.flat();
}

/** The last lines of each part's log that say more than that the database was away. */
function tellOutput(parts: readonly Part[]): string[] {
  return parts.flatMap((part) => {
    const text = `${part.process.output.stdout}${part.process.output.stderr}`.trim();
    return text === "" ? [] : [`log of ${part.kind} ${part.pid}: … ${text.slice(-1_500)}`];
  });
}
