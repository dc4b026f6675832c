/**
 * Runs scenarios with seeds, a few side by side, each place with a PostgreSQL server of its own.
 */

import { rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onExit } from "./exit.ts";
import { Random } from "./random.ts";
import type { Scenario } from "./scenario.ts";
import { FaultServer } from "./server.ts";
import { type Trial, tryOnce } from "./trial.ts";

/** What to run. */
export interface SuiteOptions {
  readonly scenarios: readonly Scenario[];
  readonly seeds: readonly number[];
  readonly parallel: number;
  readonly isFull?: boolean;
  /** How far turns go ahead of their settles; 1 unless told. */
  readonly unsettledMax?: number;
  /** The program to test instead of this one. */
  readonly main?: string;
  /** Aborts when no more runs are to be started. */
  readonly signal?: AbortSignal;
  readonly onSkip?: (scenario: Scenario, why: string) => void;
  readonly onTrial?: (trial: Trial) => void;
}

/** Runs every scenario with every seed. */
export async function runSuite(options: SuiteOptions): Promise<Trial[]> {
  const scenarios = await leaveOutImpossible(options);
  const jobs = options.seeds.flatMap((seed) => scenarios.map((scenario) => ({ scenario, seed })));
  const folder = await mkdtemp(join(tmpdir(), "inturn-witness-"));
  const forget = onExit(() => rmSync(folder, { recursive: true, force: true }));
  const trials: Trial[] = [];
  let started = 0;
  const place = async () => {
    const server = await FaultServer.create();
    try {
      for (let job = jobs.shift(); job !== undefined && options.signal?.aborted !== true; job = jobs.shift()) {
        started += 1;
        const name = `run_${started}`;
        const { main, isFull = false, unsettledMax = 1 } = options;
        const random = new Random(job.seed * 1_000 + job.scenario.fault);
        const bench = { random, name, folder, main, isFull, unsettledMax };
        const trial = await withServer(job.scenario, server, (used) =>
          tryOnce(job.scenario, job.seed, { ...bench, server: used }),
        );
        trials.push(trial);
        options.onTrial?.(trial);
      }
    } finally {
      await server.remove();
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(options.parallel, jobs.length) }, place));
  } finally {
    await rm(folder, { recursive: true, force: true });
    forget();
  }
  return trials;
}

async function leaveOutImpossible(options: SuiteOptions): Promise<Scenario[]> {
  const possible: Scenario[] = [];
  for (const scenario of options.scenarios) {
    const why = await scenario.whyNot?.();
    if (why === undefined) possible.push(scenario);
    else options.onSkip?.(scenario, why);
  }
  return possible;
}

/** The server of the place, or one of the scenario's own. */
async function withServer(
  scenario: Scenario,
  shared: FaultServer,
  body: (server: FaultServer) => Promise<Trial>,
): Promise<Trial> {
  if (scenario.ownServer === undefined) return await body(shared);
  const { cleanUp, ...options } = await scenario.ownServer();
  try {
    const server = await FaultServer.create(options);
    try {
      return await body(server);
    } finally {
      await server.remove();
    }
  } finally {
    await cleanUp();
  }
}
