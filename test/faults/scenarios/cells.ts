/** Three cells, each with a PostgreSQL of its own, and buckets that are moved between them. */
import { setTimeout as sleep } from "node:timers/promises";
import { bucketOf, cellOf } from "../../../src/engine/bucket.ts";
import { type CellName, MAP, NAMES } from "../../support/cells.ts";
import { startProcess, type TestProcess } from "../../support/process.ts";
import { until } from "../../support/until.ts";
import type { Bench, Part, Route } from "../bench.ts";
import { monotonicMs } from "../clock.ts";
import type { Random } from "../random.ts";
import { accountsNamed, type Scenario } from "../scenario.ts";

const ACCOUNTS = accountsNamed("a", 24);

/** A move that can go on has done so by then. */
const MOVED_MS_MAX = 20_000;

/** A PostgreSQL is killed at this statement of a move. */
interface Moment {
  /** Its beginning, or a part of it that no other statement has; 40 characters at most. */
  readonly statement: string;
  readonly at: "source" | "target" | "third";
}

/** The steps of a move, in their order. */
const MOMENTS: readonly Moment[] = [
  { statement: "set moving_to = $2, mover = $3", at: "source" },
  { statement: "set mover = $2 where bucket = $1", at: "target" },
  { statement: "insert into inturn.accounts (id, paused_at", at: "target" },
  { statement: "insert into inturn.events select", at: "target" },
  { statement: "inturn.hold_bucket", at: "source" },
  { statement: "inturn.freeze_bucket", at: "source" },
  { statement: "insert into inturn.attempts select", at: "target" },
  { statement: "epoch = epoch + 1, is_frozen = false", at: "source" },
  { statement: "inturn.arrive_bucket", at: "target" },
  { statement: "set cell = $2, epoch = $3 where", at: "third" },
  { statement: "inturn.clean_bucket", at: "source" },
  { statement: "set moving_to = null where bucket", at: "source" },
];

/** Whatever a move was about to do, or had just done without hearing of it. */
export const killedCell: Scenario = {
  name: "killed-cell",
  fault: 45,
  promise:
    "a cell that is killed at any step of a move: the next call ends it, and nothing is lost, doubled or reordered",
  hasCells: true,
  async run(bench) {
    await startCells(bench);
    // Some handlers run for longer than it takes to take an account over: a move has to wait for them.
    const behaviourOf = (_account: string, _n: number, random: Random) => ({
      ms: random.oneIn(10) ? 4_000 : random.int(0, 50),
    });
    bench.clients.send({ accounts: ACCOUNTS, eventsPerAccount: 40, overMs: 20_000, behaviourOf });
    const mover = await Movers.create(bench);
    for (const moment of MOMENTS) await killAt(bench, mover, moment);
  },
};

/** Servers that do not hear where accounts lie by now go on with what they know. */
export const staleMap: Scenario = {
  name: "stale-map",
  fault: 46,
  promise:
    "a server that cannot learn where accounts lie refuses those that have been moved, and stores nothing in the wrong cell",
  hasCells: true,
  async run(bench) {
    const { servers } = await startCells(bench);
    const staleMs = bench.isFull ? 10_000 : 4_000;
    bench.clients.send({ accounts: ACCOUNTS, eventsPerAccount: 40, overMs: staleMs + 2_000 });
    const mover = await Movers.create(bench);
    for (const { proxies } of servers.slice(1))
      for (const proxy of proxies) proxy.swallowAll("select cell, here, epoch");
    const endMs = performance.now() + staleMs;
    while (performance.now() < endMs) await mover.moveSurely(mover.pick());
    if ((bench.clients.answers.get(503) ?? 0) === 0) throw new Error("no server was sent to the wrong cell");
  },
};

/** One of three is away. */
export const awayCell: Scenario = {
  name: "away-cell",
  fault: 47,
  promise: "while a cell is away the accounts of the others are accepted and handled as ever",
  hasCells: true,
  async run(bench) {
    // Each worker process works for all cells.
    await bench.start({ servers: 2, workers: 2 });
    const awayMs = bench.isFull ? 30_000 : 6_000;
    const away = bench.random.pick(NAMES);
    const store = storeOf(bench, away);
    const others = ACCOUNTS.filter((account) => cellOf(MAP, account) !== away);
    bench.demands.idleMsMax = 1_000;
    bench.demands.idleExempt = ACCOUNTS.filter((account) => !others.includes(account));
    bench.clients.send({ accounts: ACCOUNTS, eventsPerAccount: 60, overMs: awayMs + 2_000 });
    await sleep(bench.random.int(500, 1_500));
    await store.stop("immediate");
    const fromMs = monotonicMs();
    await sleep(awayMs);
    const calls = (await bench.calls()).filter(({ startMs }) => startMs > fromMs);
    const handled = new Set(calls.map(({ account }) => account));
    const idle = others.filter((account) => !handled.has(account));
    await store.start();
    if (idle.length > 0) throw new Error(`while ${away} was away, nothing was handled for ${idle.join(", ")}`);
  },
};

async function startCells(bench: Bench): Promise<{ servers: Part[] }> {
  const [servers] = await Promise.all([
    bench.start({ servers: 2 }),
    ...NAMES.map((cell) => bench.start({ workers: 1 }, { environment: { INTURN_CELL: cell } })),
  ]);
  return { servers };
}

function storeOf(bench: Bench, cell: CellName): Bench["server"] {
  return bench.stores[NAMES.indexOf(cell)] ?? bench.server;
}

interface Move {
  readonly bucket: number;
  readonly from: CellName;
  readonly to: CellName;
}

/** Moves buckets with the command, over a way of its own, and knows where they lie. */
class Movers {
  readonly #bench: Bench;
  readonly route: Route;
  readonly #cells = new Map<number, CellName>(ACCOUNTS.map((account) => [bucketOf(account), inCell(account)]));

  private constructor(bench: Bench, route: Route) {
    this.#bench = bench;
    this.route = route;
  }

  static async create(bench: Bench): Promise<Movers> {
    return new Movers(bench, await bench.route());
  }

  /** A bucket that has accounts, and another cell for it. */
  pick(): Move {
    const { random } = this.#bench;
    const [bucket, from] = random.pick([...this.#cells]);
    return { bucket, from, to: random.pick(NAMES.filter((name) => name !== from)) };
  }

  start({ bucket, to }: Move): TestProcess {
    const { main } = this.#bench;
    const args = ["cells", "move", "--bucket", String(bucket), "--to", to];
    return startProcess(args, this.route.environment, main === undefined ? {} : { script: main });
  }

  /** Calls it until it has been moved. */
  async moveSurely(move: Move): Promise<void> {
    let told = "";
    const moved = async () => {
      const call = this.start(move);
      const isDone = (await call.ended) === 0;
      told = call.output.stderr;
      return isDone;
    };
    await until("the bucket is moved", moved, MOVED_MS_MAX).catch((error: unknown) => {
      throw new Error(`bucket ${move.bucket} to ${move.to}: ${told}`, { cause: error });
    });
    this.#cells.set(move.bucket, move.to);
  }
}

function inCell(account: string): CellName {
  return NAMES.find((name) => name === cellOf(MAP, account)) ?? NAMES[0];
}

async function killAt(bench: Bench, movers: Movers, { statement, at }: Moment): Promise<void> {
  const { random } = bench;
  const move = movers.pick();
  const third = NAMES.find((name) => name !== move.from && name !== move.to) ?? move.to;
  const cell = { source: move.from, target: move.to, third }[at];
  const store = storeOf(bench, cell);
  // What has nothing settled yet has nothing to copy.
  await until("events are settled", async () => await hasSettled(bench, move.from, move.bucket));
  const reached = movers.route.proxies[NAMES.indexOf(cell)]?.swallowNext(statement, random.oneIn(2));
  const mover = movers.start(move);
  const first = await Promise.race([reached, mover.ended.then(() => "ended")]);
  if (first === "ended") throw new Error(`a move did not come to: ${statement}\n${mover.output.stderr}`);
  await store.kill();
  // Some wait for it, and some give up.
  await sleep(random.int(0, 1_000));
  await store.start();
  await mover.ended;
  await movers.moveSurely(move);
}

async function hasSettled(bench: Bench, cell: CellName, bucket: number): Promise<boolean> {
  const text = "select from inturn.accounts where inturn.bucket_of(id) = $1 and processed_seq > 0 limit 1";
  return (await storeOf(bench, cell).query(text, [bucket], bench.database)).length > 0;
}
