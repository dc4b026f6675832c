/** Handlers that fail in every way that leaves their process alive, and a clock that is wrong. */
import type { Bench } from "../bench.ts";
import type { Behaviour, Misuse } from "../client.ts";
import { accountsNamed, type Scenario } from "../scenario.ts";

const ACTS: readonly NonNullable<Behaviour["act"]>[] = [
  "throw",
  "throw-null",
  "reject-undefined",
  "huge-error",
  "partial-write",
  "hang",
];

/** Each account's handler fails in its own way, twice, and one for ever. */
export const badHandlers: Scenario = {
  name: "bad-handlers",
  fault: 20,
  promise: "the policy applies to the account whose handler failed; the others go on",
  async run(bench) {
    bench.demands.blocked = ["hopeless"];
    bench.demands.counts = true;
    await bench.query("create table public.counters (account text primary key, n bigint not null)");
    await bench.query("grant all on public.counters to worker");
    await bench.start({ servers: 1, workers: 2 });
    const counting = { counts: true };
    bench.clients.send({
      accounts: accountsNamed("a", 8),
      eventsPerAccount: 10,
      overMs: 2_000,
      behaviourOf: () => counting,
    });
    for (const act of ACTS) {
      bench.clients.send({
        accounts: [act],
        eventsPerAccount: 4,
        overMs: 1_000,
        type: "inturn.quick",
        behaviourOf: (_account, n) => ({ ...counting, failures: n % 2 === 1 ? 2 : 0, act }),
      });
    }
    bench.clients.send({
      accounts: ["hopeless"],
      eventsPerAccount: 3,
      overMs: 100,
      type: "inturn.twice",
      behaviourOf: () => ({ ...counting, failures: 99 }),
    });
  },
};

const MISUSES: readonly Misuse[] = [
  "fail-unawaited",
  "fail-late",
  "commit-inside",
  "rollback-inside",
  "commit-by-hand",
  "keep-client",
  "litter",
];

/** Handlers that misuse the client of their transaction, among others that do not. */
export const misusedClients: Scenario = {
  name: "misused-clients",
  fault: 30,
  promise:
    "a transaction counts whole or not at all, whatever its handler does with its client; no other account notices",
  async run(bench) {
    bench.demands.counts = true;
    await bench.query("create table public.counters (account text primary key, n bigint not null)");
    // Where the counters of a session go that was left pointing there.
    await bench.query("create schema evil; create table evil.counters (like public.counters including all)");
    await bench.query("grant usage on schema evil to worker; grant all on public.counters, evil.counters to worker");
    await bench.start({ servers: 1, workers: 2 });
    const traffic = { eventsPerAccount: 20, overMs: 3_000 };
    bench.clients.send({ ...traffic, accounts: accountsNamed("a", 12), behaviourOf: () => ({ counts: true }) });
    bench.clients.send({
      ...traffic,
      accounts: accountsNamed("misuser", 12),
      behaviourOf: (_account, _n, random) => ({
        counts: true,
        failures: Number(random.oneIn(2)),
        act: random.pick(MISUSES),
      }),
    });
  },
};

const SHIFTED_CLOCK = new URL("../shifted-clock.ts", import.meta.url).pathname;

const HOUR_MS = 3_600_000;

/** Every process lives in another hour. */
export const wrongClocks: Scenario = {
  name: "wrong-clocks",
  fault: 16,
  promise: "no effect: the database's clock counts",
  async run(bench) {
    const shifted = (ms: number) => ({
      nodeOptions: `--import=${SHIFTED_CLOCK}`,
      environment: { FAULTS_CLOCK_MS: String(ms) },
    });
    await Promise.all([
      bench.start({ servers: 1, workers: 1 }, shifted(HOUR_MS)),
      bench.start({ workers: 1 }, shifted(-HOUR_MS)),
      bench.start({ workers: 1 }),
    ]);
    const behaviourOf = (_account: string, _n: number, random: Bench["random"]) => ({
      ms: random.int(0, 100),
      failures: Number(random.oneIn(5)),
    });
    bench.clients.send({ accounts: accountsNamed("a", 12), eventsPerAccount: 20, overMs: 3_000, behaviourOf });
  },
};
