/**
 * The demo: the whole system in one command, as real processes, and the proof that it kept its promise.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Settings } from "../config/settings.ts";
import { listApiKeys } from "../db/api-keys.ts";
import { type Database, openDatabase } from "../db/pool.ts";
import { clearEverything, hasOtherEvents, type Progress, readProgress } from "../db/progress.ts";
import { type RunSummary, readRunSummary } from "../db/results.ts";
import { createKey } from "../engine/access.ts";
import { InturnError } from "../errors/error.ts";
import { type Fleet, startFleet } from "../service/fleet.ts";
import { LOAD_EVENT_TYPE, type LoadReport, runLoad } from "./load.ts";
import { addUp, type Verification, verify } from "./verify.ts";

/** What to show. */
export interface DemoOptions {
  readonly settings: Settings;
  /** A migrated database, or one for each cell of the settings. */
  readonly databaseUrls: readonly string[];
  readonly postgres: string;
  readonly events: number;
  readonly accounts: number;
  /** Of each cell. */
  readonly workers: number;
  readonly seed: number;
  readonly connections: number;
  readonly batch: number;
  /** Kill a worker this often while they work; without it none. */
  readonly killEveryMs?: number | undefined;
  readonly onPhase: (phase: string) => void;
  readonly onProgress: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

/** What it showed. Seconds are by the database's clock. */
export interface DemoReport {
  readonly events: number;
  readonly accounts: number;
  readonly workers: number;
  readonly seed: number;
  /** The floor: the longest account, one event after the other. */
  readonly idealSeconds: number;
  /** First event received → last event settled. */
  readonly makespanSeconds: number;
  readonly efficiency: number;
  readonly ingestEventsPerSecond: number;
  readonly processed: number;
  readonly lost: number;
  readonly duplicates: number;
  readonly orderViolations: number;
  readonly overlaps: number;
  readonly postgres: string;
  /** Workers that were killed, if that was asked for. */
  readonly kills?: number;
}

/** What happened meanwhile. */
interface DemoRun {
  readonly load: LoadReport;
  readonly kills: number;
}

const PROGRESS_INTERVAL_MS = 250;

/** Without any progress for this long, beyond the time of one handler, something is stuck. */
const STALL_MS_MAX = 30_000;

/** Runs the demo. The databases must be empty or hold nothing but an earlier demo, which is cleared. */
export async function runDemo(options: DemoOptions): Promise<DemoReport> {
  const databases = options.databaseUrls.map((url) =>
    openDatabase({ url, name: "inturn demo", connectionsMax: 2, onError: () => undefined }),
  );
  try {
    for (const database of databases) await makeRoom(database);
    // A database that has API keys asks for one: the demo brings its own.
    const keys = (await Promise.all(databases.map(listApiKeys))).flat();
    const apiKey = keys.length > 0 ? createKey().key : undefined;
    const workers = options.workers * databases.length;
    options.onPhase(`starting the API and ${workers} workers`);
    const fleet = await startFleet({
      settings: { ...options.settings, port: 0, ...(apiKey !== undefined && { apiKeys: [apiKey] }) },
      databaseUrl: databases.length > 1 ? undefined : options.databaseUrls[0],
      workers: options.workers,
      say: options.onPhase,
    });
    let run: DemoRun;
    try {
      run = await sendAndWait(options, { fleet, databases, apiKey });
    } finally {
      options.onPhase("stopping");
      await fleet.stop();
    }
    options.onPhase("verifying");
    return await report(options, databases, run);
  } finally {
    await Promise.all(databases.map((database) => database.end()));
  }
}

async function makeRoom(database: Database): Promise<void> {
  if (await hasOtherEvents(database, LOAD_EVENT_TYPE)) {
    throw new InturnError(
      "database_not_empty",
      "This database holds events that no demo made; the demo wants one of its own. Set DATABASE_URL to an empty database.",
    );
  }
  await clearEverything(database);
}

async function sendAndWait(
  options: DemoOptions,
  on: { fleet: Fleet; databases: readonly Database[]; apiKey: string | undefined },
): Promise<DemoRun> {
  const { fleet, databases, apiKey } = on;
  options.onPhase(`sending ${options.events} events over HTTP to ${fleet.url}; open it in a browser to watch`);
  const { events, accounts, seed, connections, batch, signal } = options;
  const sending = runLoad({ url: fleet.url, apiKey, events, accounts, seed, connections, batch, signal });
  const watching = watch(options, databases);
  const killing = killNowAndThen(options, fleet, watching);
  const [load, , kills] = await Promise.all([sending, watching, killing]);
  return { load, kills };
}

/** Kills one worker after the other, as long as they work. Returns how many. */
async function killNowAndThen(options: DemoOptions, fleet: Fleet, work: Promise<void>): Promise<number> {
  const { killEveryMs } = options;
  if (killEveryMs === undefined) return 0;
  const done = new AbortController();
  void work.finally(() => done.abort()).catch(() => undefined);
  let kills = 0;
  for (;;) {
    await sleep(killEveryMs, undefined, { signal: done.signal }).catch(() => undefined);
    if (done.signal.aborted) return kills;
    fleet.killWorker(kills % fleet.workers);
    kills += 1;
  }
}

/** Follows the progress until every event is settled. */
async function watch(options: DemoOptions, databases: readonly Database[]): Promise<void> {
  let last = { received: 0, settled: 0 };
  let lastMs = performance.now();
  while (last.settled < options.events) {
    await sleep(PROGRESS_INTERVAL_MS, undefined, { signal: options.signal });
    const all = await Promise.all(databases.map(readProgress));
    const sum = (key: keyof Progress) => all.reduce((so, each) => so + each[key], 0);
    const progress = { received: sum("received"), settled: sum("settled") };
    if (progress.settled > last.settled || progress.received > last.received) lastMs = performance.now();
    last = progress;
    options.onProgress(progress);
    if (performance.now() - lastMs > STALL_MS_MAX + options.settings.handlerMs) {
      throw new InturnError(
        "process_failed",
        `No progress for ${STALL_MS_MAX / 1_000} s at ${progress.settled} of ${options.events} events.`,
      );
    }
  }
}

async function report(options: DemoOptions, databases: readonly Database[], run: DemoRun): Promise<DemoReport> {
  const summaries = await Promise.all(databases.map(readRunSummary));
  const found = addUp((await Promise.all(databases.map(verify))) as [Verification]);
  const { load, kills } = run;
  const idealSeconds = (load.longest * options.settings.handlerMs) / 1_000;
  const makespanSeconds = makespanOf(summaries);
  return {
    events: options.events,
    accounts: options.accounts,
    workers: options.workers,
    seed: options.seed,
    idealSeconds,
    makespanSeconds,
    efficiency: makespanSeconds === 0 ? 0 : idealSeconds / makespanSeconds,
    ingestEventsPerSecond: Math.round(load.eventsPerSecond),
    processed: found.processed,
    lost: countLost(options, found),
    // The demo's handler never fails: as long as no worker is killed, an event that was handed out twice was one too many.
    duplicates: found.duplicates + (kills === 0 ? found.redelivered : 0),
    orderViolations: found.orderViolations,
    overlaps: found.overlaps,
    postgres: options.postgres,
    ...(options.killEveryMs !== undefined && { kills }),
  };
}

/** From the first event to the last, of all cells: they are on one machine, and so is their clock. */
function makespanOf(summaries: readonly RunSummary[]): number {
  const [first, ...others] = summaries;
  if (others.length === 0) return first?.makespanSeconds ?? 0;
  const times = (key: "firstReceivedAt" | "lastProcessedAt") =>
    summaries.flatMap((summary) => (summary[key] === null ? [] : [Date.parse(summary[key])]));
  return Math.max(0, Math.max(...times("lastProcessedAt")) - Math.min(...times("firstReceivedAt"))) / 1_000;
}

/** Every event that was sent and acknowledged must be there and processed. */
function countLost(options: DemoOptions, found: Verification): number {
  return Math.max(found.lost, options.events - found.processed);
}
