/**
 * Buckets that are moved at random between three cells, under load, by processes that are killed at random moments.
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { runLoad } from "../../src/demo/load.ts";
import { BUCKETS } from "../../src/domain/cell.ts";
import { MOVE_STEPS } from "../../src/service/move.ts";
import { Random } from "../faults/random.ts";
import { cellsSetting, NAMES, type TestCells } from "./cells.ts";
import { createEffects, oneTo, RECORDING_HANDLER, readEffects, seqsByAccount } from "./effects.ts";
import { startProcess } from "./process.ts";
import { until } from "./until.ts";

/** What is done. */
export interface MovingOptions {
  readonly seed: number;
  readonly moves: number;
  /** How often a move is killed before its end, 0 to 1. */
  readonly killed: number;
  readonly eventsPerSecond: number;
}

/** What came of it. */
export interface MovingReport {
  readonly events: number;
  readonly moves: number;
  readonly kills: number;
  /** For how long each bucket took no event, in ms, shortest first. */
  readonly frozenMs: readonly number[];
}

/** Events for these accounts; fewer than buckets would leave most buckets empty. */
const ACCOUNTS = 2_000;

/** Runs it, and checks that nothing is lost, doubled or out of order. */
export async function moveAtRandom(cells: TestCells, options: MovingOptions): Promise<MovingReport> {
  await createEffects(cells.a);
  const environment = { INTURN_CELLS: cellsSetting(cells) };
  const front = startProcess(["serve", "--port", "0"], environment);
  const workers = NAMES.map((name) =>
    startProcess(["work", "--handler", RECORDING_HANDLER], {
      ...environment,
      INTURN_CELL: name,
      EFFECTS_URL: cells.a.url,
    }),
  );
  const stopped = new AbortController();
  try {
    const { url = "" } = await front.ready;
    await Promise.all(workers.map((worker) => worker.ready));
    const watching = watchFrozen(cells, stopped.signal);
    const sending = sendUntil(url, options, stopped.signal);
    const { kills } = await move(environment, options);
    stopped.abort();
    const events = await sending;
    await untilSettled(cells);
    await check(cells, events);
    const frozenMs = (await watching).toSorted((one, other) => one - other);
    return { events, moves: options.moves, kills, frozenMs };
  } finally {
    stopped.abort();
    await Promise.all([front, ...workers].map((process) => process.stop()));
  }
}

/** Sends workload after workload, each with accounts of its own, until it is told to stop. */
async function sendUntil(url: string, { seed, eventsPerSecond }: MovingOptions, signal: AbortSignal): Promise<number> {
  let sent = 0;
  for (let round = 1; !signal.aborted; round += 1) {
    const load = {
      url,
      accounts: ACCOUNTS,
      seed: 1_000 * seed + round,
      events: 2 * eventsPerSecond,
      rate: eventsPerSecond,
    };
    sent += (await runLoad({ ...load, connections: 4, batch: 10 })).events;
  }
  return sent;
}

async function move(environment: Record<string, string>, options: MovingOptions): Promise<{ kills: number }> {
  const random = new Random(options.seed);
  const script = new URL("mover-process.ts", import.meta.url).pathname;
  let kills = 0;
  for (let i = 0; i < options.moves; i += 1) {
    const args = [String(random.int(0, BUCKETS - 1)), random.pick(NAMES)];
    for (;;) {
      const step = random.int(1, 100) <= 100 * options.killed ? [random.pick(MOVE_STEPS)] : [];
      const mover = startProcess([...args, ...step], environment, { script });
      const how = await mover.ended;
      if (how === 0) break;
      assert.equal(how, "SIGKILL", mover.output.stderr);
      kills += 1;
    }
  }
  return { kills };
}

/** Between two looks at what is frozen. */
const LOOK_MS = 25;

/** For how long each bucket took nothing: frozen, or left and not arrived. */
async function watchFrozen(cells: TestCells, signal: AbortSignal): Promise<number[]> {
  const since = new Map<number, number>();
  const spans: number[] = [];
  while (!signal.aborted || since.size > 0) {
    const rows = await Promise.all(
      NAMES.map((name) =>
        cells[name].query<{ bucket: number; takes: boolean }>(
          "select bucket, is_here and not is_frozen as takes from inturn.buckets",
        ),
      ),
    );
    const taken = new Set(rows.flat().flatMap(({ bucket, takes }) => (takes ? [bucket] : [])));
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
      const from = since.get(bucket);
      if (!taken.has(bucket)) since.set(bucket, from ?? performance.now());
      else if (from !== undefined) {
        spans.push(performance.now() - from);
        since.delete(bucket);
      }
    }
    await sleep(LOOK_MS);
  }
  return spans;
}

async function untilSettled(cells: TestCells): Promise<void> {
  for (const name of NAMES) {
    await until(`cell ${name} is done`, async () => {
      const rows = await cells[name].query<{ pending: number }>(
        "select coalesce(sum(last_seq - processed_seq), 0)::int as pending from inturn.accounts",
      );
      return rows[0]?.pending === 0;
    });
  }
}

async function check(cells: TestCells, sent: number): Promise<void> {
  const stored = await Promise.all(
    NAMES.map((name) =>
      cells[name].query<{ accountId: string; seqs: number[]; numbers: number[] }>(
        `select account_id as "accountId", array_agg(seq::int order by seq) as seqs,
           array_agg((data ->> 'n')::int order by seq) as numbers
         from inturn.events where outcome = 'processed' group by 1`,
      ),
    ),
  );
  const accounts = new Map(stored.flat().map(({ accountId, ...of }) => [accountId, of]));
  assert.equal(accounts.size, stored.flat().length, "an account lies in two cells");
  const seqs = seqsByAccount(await readEffects(cells.a));
  let events = 0;
  for (const [accountId, of] of accounts) {
    events += of.seqs.length;
    assert.deepEqual(of.seqs, oneTo(of.seqs.length), accountId);
    // Each workload counts anew.
    const isNext = of.numbers.every((number, i) => number === 1 || number === (of.numbers[i - 1] ?? 0) + 1);
    assert.ok(isNext, `${accountId} was stored in another order: ${of.numbers.join()}`);
    assert.deepEqual(seqs[accountId], of.seqs, `${accountId} was handled in another order, or twice`);
  }
  assert.equal(events, sent);
}
