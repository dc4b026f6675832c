/**
 * The suite under test itself: copies of the program with one thing broken, and a server that is not durable. Each one
 * must turn the checker red, or its green means nothing.
 */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Scenario } from "./scenario.ts";
import { slowAppends } from "./scenarios/appends.ts";
import { killedCell, staleMap } from "./scenarios/cells.ts";
import { immediateStop } from "./scenarios/database.ts";
import { misusedClients } from "./scenarios/handlers.ts";
import { createPowerCut } from "./scenarios/power.ts";
import { stopAndContinue, stopInARush } from "./scenarios/stalls.ts";
import { runSuite } from "./suite.ts";
import type { Trial } from "./trial.ts";

/** One thing that is broken on purpose. */
interface Control {
  readonly name: string;
  /** The scenario that must notice. */
  readonly scenario: Scenario;
  /** The change, or several; none when only the server is at fault. */
  readonly mutation?: Mutation | readonly Mutation[];
  /** How far turns go ahead of their settles; 1 unless told. */
  readonly unsettledMax?: number;
}

/** A piece of source, and what stands there instead. */
interface Mutation {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** What became of a control. */
export interface Controlled {
  readonly name: string;
  readonly scenario: string;
  /** The runs until the first red one, that one included. */
  readonly runs: number;
  readonly caught: Trial | undefined;
  /** Why it could not be run. */
  readonly skipped: string | undefined;
}

/** A mutant does not go wrong every time. */
const RUNS_MAX = 4;

const PROJECT = new URL("../..", import.meta.url).pathname;

const CONTROLS: readonly Control[] = [
  {
    name: "settle without comparing epoch and state",
    scenario: stopAndContinue,
    mutation: {
      file: "src/db/settle-statement.ts",
      find: "and a.epoch = i.epoch and a.processed_seq = ${firstSeq} - 1 and a.lease_worker is not null",
      replace: "and a.processed_seq = ${firstSeq} - 1",
    },
  },
  {
    name: "acknowledged before the commit",
    scenario: immediateStop,
    mutation: {
      file: "src/db/append.ts",
      find: "const { rows } = await database.query<Row>({ ...APPEND, values });",
      replace: `const client = await database.connect();
        await client.query("begin");
        const { rows } = await client.query<Row>({ ...APPEND, values });
        setTimeout(() => void client.query("commit").then(() => client.release(), () => client.release(true)), 50);`,
    },
  },
  {
    name: "whether anything is left decided by a sub-select",
    // The check constraint refuses what this leads to: without it the checker has to notice.
    scenario: withoutConstraint(slowAppends, "accounts_idle_has_no_pending"),
    mutation: {
      file: "src/db/settle-statement.ts",
      find: 'const isLast = "a.last_seq = i.seq"',
      replace:
        'const isLast = "not exists (select from inturn.events as e where e.account_id = i.account_id and e.seq > i.seq)"',
    },
  },
  {
    name: "reading by a cursor over the time of arrival",
    scenario: slowAppends,
    mutation: {
      file: "src/db/events.ts",
      find: "and e.seq > wanted.after_seq",
      replace:
        "and e.received_at > coalesce((select max(s.received_at) from inturn.events as s where s.processed_at is not null), '-infinity')",
    },
  },
  {
    name: "a commit counts whatever PostgreSQL did, and a client outlives its transaction",
    scenario: misusedClients,
    mutation: [
      { file: "src/db/transaction.ts", find: "steps.work(guard.client)", replace: "steps.work(client)" },
      { file: "src/db/transaction.ts", find: 'if (end.tag !== "COMMIT")', replace: "if (false)" },
    ],
  },
  {
    name: "a settle counts in whichever transaction it lands",
    scenario: misusedClients,
    mutation: {
      file: "src/db/settle-statement.ts",
      find: "and ${isIn(`$${parameters.length + 1}`)}",
      replace: "and $${parameters.length + 1}::text is not null",
    },
  },
  {
    name: "what a transaction leaves in its session meets the next one",
    scenario: misusedClients,
    mutation: { file: "src/db/session.ts", find: "`${how}; ${reset}`", replace: "how" },
  },
  {
    name: "turns go ahead of their settles without a bound",
    scenario: stopInARush,
    unsettledMax: 2,
    mutation: {
      file: "src/engine/settling.ts",
      find: "this.#unsettled < Math.min(this.#unsettledMax, rule.unsettledMax)",
      replace: "true",
    },
  },
  {
    name: "a move does not wait for the handlers of its bucket",
    scenario: killedCell,
    mutation: { file: "src/service/stop-bucket.ts", find: "if (running === 0) return;", replace: "return;" },
  },
  { name: "an append does not ask whether its account lies here", scenario: withoutLook(staleMap) },
  {
    name: "synchronous_commit = off, server killed",
    scenario: {
      ...immediateStop,
      ownServer: async () => ({
        settings: "synchronous_commit = off\nwal_writer_delay = 10s\n",
        cleanUp: async () => undefined,
      }),
    },
  },
  { name: "fsync = off, power cut", scenario: createPowerCut("fsync = off\n") },
];

/** Runs the controls of these scenarios, each until it is caught. */
export async function runControls(
  scenarios: readonly Scenario[],
  onDone: (controlled: Controlled) => void,
): Promise<Controlled[]> {
  const results: Controlled[] = [];
  const names = new Set(scenarios.map(({ name }) => name));
  for (const control of CONTROLS.filter(({ scenario }) => names.has(scenario.name))) {
    const controlled = await runControl(control);
    onDone(controlled);
    results.push(controlled);
  }
  return results;
}

async function runControl(control: Control): Promise<Controlled> {
  const { name, scenario, mutation, unsettledMax = 1 } = control;
  const mutant = mutation === undefined ? undefined : await makeMutant([mutation].flat());
  let skipped: string | undefined;
  let runs = 0;
  const result = (caught?: Trial): Controlled => ({ name, scenario: scenario.name, runs, caught, skipped });
  try {
    for (let seed = 1; seed <= RUNS_MAX; seed++) {
      const [trial] = await runSuite({
        scenarios: [scenario],
        seeds: [seed],
        parallel: 1,
        unsettledMax,
        ...(mutant !== undefined && { main: join(mutant, "src/cli/main.ts") }),
        onSkip: (_scenario, why) => (skipped = why),
      });
      runs += 1;
      if (trial === undefined || isCaught(trial)) return result(trial);
    }
    return result();
  } finally {
    if (mutant !== undefined) await rm(mutant, { recursive: true, force: true });
  }
}

/** Red for what the checker counts, or because the server did not come up again; not because something was merely late. */
function isCaught({ lost, doubled, reordered, overlapping, gaps, staleCommits, stuck, problems }: Trial): boolean {
  const isDead = problems.some((problem) => problem.includes("PostgreSQL answers"));
  return lost + doubled + reordered + overlapping + gaps + staleCommits + stuck > 0 || isDead;
}

/** The sources as the controls break them. @throws when what is to be broken is not there, or not once */
export async function mutateSources(): Promise<string[]> {
  const all = CONTROLS.flatMap(({ mutation }) => mutation ?? []);
  return await Promise.all(all.map((mutation) => mutate(PROJECT, mutation)));
}

async function mutate(folder: string, mutation: Mutation): Promise<string> {
  const source = await readFile(join(folder, mutation.file), "utf8");
  const matches = source.split(mutation.find).length - 1;
  if (matches !== 1) throw new Error(`${mutation.file} has ${matches} places like: ${mutation.find}`);
  return source.replace(mutation.find, () => mutation.replace);
}

async function makeMutant(mutations: readonly Mutation[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "inturn-mutant-"));
  for (const part of ["src", "drizzle", "package.json"])
    await cp(join(PROJECT, part), join(folder, part), { recursive: true });
  await symlink(join(PROJECT, "node_modules"), join(folder, "node_modules"));
  for (const mutation of mutations) await writeFile(join(folder, mutation.file), await mutate(folder, mutation));
  return folder;
}

function withoutConstraint(scenario: Scenario, constraint: string): Scenario {
  return {
    ...scenario,
    async run(bench) {
      await bench.query(`alter table inturn.accounts drop constraint ${constraint}`);
      await scenario.run(bench);
    },
  };
}

function withoutLook(scenario: Scenario): Scenario {
  return {
    ...scenario,
    async run(bench) {
      await bench.everywhere(
        `create or replace function inturn.find_elsewhere(account_ids text[]) returns table (account_id text, cell text, index integer)
         language sql as 'select null::text, null::text, null::integer where false'`,
      );
      await scenario.run(bench);
    },
  };
}
