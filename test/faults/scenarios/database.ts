/** The database goes away, comes back, breaks connections, hangs, is full. */
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../../support/until.ts";
import type { Bench } from "../bench.ts";
import { monotonicMs } from "../clock.ts";
import { accountsNamed, appendBacklog, type Scenario, sendCommonTraffic } from "../scenario.ts";
import { LOGIN_NAMES } from "../server.ts";

/** After the database is back: reconnecting, a renewal, a wake-up. */
export const RECOVERY_MS_MAX = 4_000;

/** Random connections of our processes are terminated, ten times a second. */
export const terminateBackends: Scenario = {
  name: "terminate-backends",
  fault: 8,
  promise: "no process ends, nothing gets stuck",
  async run(bench) {
    await bench.start({ servers: 1, workers: 2 });
    sendCommonTraffic(bench, 3_000);
    const untilMs = performance.now() + (bench.isFull ? 20_000 : 3_000);
    while (performance.now() < untilMs) {
      await terminate(bench, { most: 1 });
      await sleep(100);
    }
    bench.expectRecovery(RECOVERY_MS_MAX);
  },
};

/** Terminates random connections of our processes, and says how many. */
export async function terminate(bench: Bench, options: { most: number; where?: string }): Promise<number> {
  const ended = await bench.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and usename <> 'postgres' and ${options.where ?? "true"}
     order by md5(pid::text || $1) limit $2`,
    [String(bench.random.int(0, 1e9)), options.most],
  );
  return ended.length;
}

/** PostgreSQL crashes and stays away for some seconds. */
export const immediateStop: Scenario = {
  name: "immediate-stop",
  fault: 10,
  promise: "503 meanwhile; everything goes on by itself; nothing that was acknowledged is lost",
  async run(bench) {
    await bench.start({ servers: 1, workers: 2 });
    sendCommonTraffic(bench, 3_000);
    await sleep(bench.random.int(300, 1_200));
    if (bench.random.oneIn(2)) await bench.server.stop("immediate");
    else await bench.server.kill();
    await sleep(bench.isFull ? bench.random.int(5_000, 30_000) : bench.random.int(500, 3_000));
    await bench.server.start();
    bench.expectRecovery(RECOVERY_MS_MAX);
  },
};

/** PostgreSQL is restarted again and again. */
export const restartLoop: Scenario = {
  name: "restart-loop",
  fault: 11,
  promise: "there is progress between two restarts",
  async run(bench) {
    await bench.start({ servers: 1, workers: 2 });
    sendCommonTraffic(bench, 6_000);
    for (let i = 0; i < (bench.isFull ? 8 : 2); i++) {
      await bench.server.stop("fast");
      await bench.server.start();
      const backMs = monotonicMs();
      await sleep(3_000);
      if (!(await bench.calls()).some((call) => call.succeeded && call.startMs > backMs))
        throw new Error("3 s without progress");
    }
  },
};

/** The connection breaks around the commit of an append: before it, during it, after it. */
export const lostCommit: Scenario = {
  name: "lost-commit",
  fault: 9,
  promise: "503, and the repeated request is a duplicate of what was stored",
  async run(bench) {
    const parts = await bench.start({ servers: 2, workers: 2 });
    sendCommonTraffic(bench, 3_000);
    const untilMs = performance.now() + 3_000;
    while (performance.now() < untilMs) {
      const part = bench.random.pick(parts);
      const ofWorkers = ["inturn_claim", "inturn_settle", "inturn_give_back", "inturn_read_pages"];
      const statement = part.kind === "serve" ? "inturn_append" : bench.random.pick(ofWorkers);
      void part.proxy.swallowNext(statement, !bench.random.oneIn(3));
      await sleep(bench.random.int(20, 200));
    }
  },
};

/** While one backend hangs, something else is handled within this time. */
const OTHERS_MS_MAX = 4_000;

/** One of the server's processes stands still, with whatever it was doing. */
export const frozenBackend: Scenario = {
  name: "frozen-backend",
  fault: 15,
  promise: "what waits for it times out; the other accounts go on within seconds",
  async run(bench) {
    const parts = await bench.start({ servers: 1, workers: 2 });
    sendCommonTraffic(bench, 5_000);
    await sleep(bench.random.int(300, 1_000));
    const [row] = await bench.query<{ pid: number; port: number; name: string; query: string }>(
      `select pid, client_port as port, application_name as name, query from pg_stat_activity where datname = current_database() and usename <> 'postgres'
       order by md5(pid::text || $1) limit 1`,
      [String(bench.random.int(0, 1e9))],
    );
    if (row === undefined) return;
    const fromMs = monotonicMs();
    const owner = parts.filter((part) => part.proxy.hasPort(row.port));
    process.kill(row.pid, "SIGSTOP");
    const thaw = () => void process.kill(row.pid, "SIGCONT");
    bench.onHeal(() => {
      try {
        thaw();
      } catch {
        // Its client gave it up, and it has ended.
      }
      for (const part of owner) bench.noteAbsence(part, fromMs);
    });
    // Frozen with one of the server's own locks in its hand, on a page of our tables or on the log, it holds up everybody:
    // then nobody can go on. An account that is new has no row that anybody of ours could have locked.
    const probe = appendBacklog(bench, { accounts: ["probe"], eventsPerAccount: 1, msMax: 0 }).then(
      () => true,
      () => false,
    );
    const serves = await Promise.race([probe, sleep(1_500, false)]);
    if (!serves) return;
    await sleep(1_500);
    // What shares the hanging statement waits for its time-out; what comes after it goes out over another connection.
    await until(
      `something is handled although ${row.name} hangs in: ${row.query.trim().slice(0, 100)}`,
      async () => (await bench.calls()).some((call) => call.succeeded && call.startMs > fromMs + 1_500),
      OTHERS_MS_MAX,
    );
    await sleep(bench.isFull ? 20_000 : 1_000);
  },
};

/** The server accepts no more connections, and some of ours break. */
export const noConnections: Scenario = {
  name: "no-connections",
  fault: 18,
  promise: "the leases are renewed all the same; 503 at the door",
  async run(bench) {
    await bench.start({ servers: 1, workers: 2 });
    sendCommonTraffic(bench, 4_000);
    await sleep(bench.random.int(300, 1_000));
    const allow = async (most: number) => {
      for (const name of LOGIN_NAMES) await bench.server.query(`alter role ${name} connection limit ${most}`);
    };
    await allow(1);
    bench.onHeal(() => allow(-1));
    await terminate(bench, { most: 100, where: "application_name = 'inturn api'" });
    await terminate(bench, { most: bench.random.int(1, 10), where: "application_name <> 'inturn sign of life'" });
    await sleep(2_500);
    const workers = await bench.query("select from inturn.workers where lease_expires_at > clock_timestamp()");
    if (workers.length !== 2) throw new Error(`${workers.length} of 2 workers have a lease`);
    if (!bench.clients.answers.has(503)) throw new Error("no request was answered 503");
    await allow(-1);
    bench.expectRecovery(RECOVERY_MS_MAX);
  },
};

/** Somebody holds the row of one account in a transaction. */
export const lockedAccount: Scenario = {
  name: "locked-account",
  fault: 19,
  promise: "the other accounts are not affected",
  async run(bench) {
    bench.demands.idleMsMax = 1_500;
    bench.demands.idleExempt = ["a1"];
    await bench.start({ servers: 1, workers: 2 });
    sendCommonTraffic(bench, 4_500);
    await sleep(bench.random.int(300, 1_000));
    const fromMs = monotonicMs();
    const holdMs = bench.isFull ? 60_000 : 3_000;
    await bench.server.query(
      `do $$ begin perform from inturn.accounts where id = 'a1' for update; perform pg_sleep(${holdMs / 1_000}); end $$`,
      [],
      bench.database,
      holdMs + 20_000,
    );
    const calls = (await bench.calls()).filter((call) => call.startMs > fromMs && call.succeeded);
    const idle = accountsNamed("a", 12).filter(
      (account) => account !== "a1" && !calls.some((call) => call.account === account),
    );
    if (idle.length > 0) throw new Error(`while a1 was locked nothing was handled for ${idle.join(", ")}`);
  },
};

/** Nobody answers when the processes start. */
export const absentAtBoot: Scenario = {
  name: "absent-at-boot",
  fault: 27,
  promise: "they wait for it with pauses; readiness is 503 until then",
  async run(bench) {
    await bench.server.stop("fast");
    await bench.start({ servers: 1, workers: 2 }, { isPatient: true });
    const url = await until("the server listens", () => bench.clients.urls[0]);
    const ready = (await fetch(`${url}/readyz`)).status;
    await sleep(bench.random.int(500, 3_000));
    if (bench.parts.some((part) => part.deathMs !== undefined))
      throw new Error("a process ended because the database was away");
    await bench.server.start();
    await Promise.all(bench.parts.map((part) => part.process.ready));
    bench.expectRecovery(RECOVERY_MS_MAX);
    if (ready !== 503) throw new Error(`/readyz without a database: ${ready}`);
    sendCommonTraffic(bench, 1_500);
  },
};
