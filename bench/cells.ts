/**
 * `npm run bench:cells`: what cells cost, what one that is away costs the others, what a list over all of them costs, and for how long a
 * bucket takes no events while it is moved. Each cell has a PostgreSQL server of its own, all on this machine. Linux only: CPU times come
 * from /proc.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import pg from "pg";
import { makeCell } from "../src/db/cells.ts";
import { openDatabase } from "../src/db/pool.ts";
import { runLoad } from "../src/demo/load.ts";
import { spreadBuckets } from "../src/domain/cell.ts";
import { cellOf } from "../src/engine/bucket.ts";
import { type Fleet, startFleet } from "../src/service/fleet.ts";
import { Mover } from "../src/service/move.ts";
import { FaultServer } from "../test/faults/server.ts";
import { cellsSetting, MAP, NAMES, type TestCells } from "../test/support/cells.ts";
import type { TestDatabase } from "../test/support/database.ts";
import { moveAtRandom } from "../test/support/moving.ts";
import { readCpuSeconds } from "./cpu.ts";
import { ACCOUNTS, median, print, SEED, settingsFor, untilSettled } from "./support.ts";

const { values: flags } = parseArgs({
  options: {
    only: { type: "string", default: "cost,away,page,large,moves" },
    iterations: { type: "string", default: "3" },
    moves: { type: "string", default: "30" },
  },
});

const servers = await Promise.all(NAMES.map(() => FaultServer.create()));
let databases = 0;
try {
  const measures: Record<string, () => Promise<void>> = {
    cost: measureCost,
    away: measureAway,
    page: measurePage,
    large: measureLarge,
    moves: measureMoves,
  };
  for (const name of flags.only.split(",")) {
    const measure = measures[name];
    if (measure === undefined) throw new Error(`there is no ${name}; there are ${Object.keys(measures).join(", ")}`);
    await measure();
  }
} finally {
  await Promise.all(servers.map((server) => server.remove()));
}

/** New databases, one on each of the first servers. */
async function createDatabases(count: number): Promise<{ url: string }[]> {
  databases += 1;
  const name = `cells_${databases}`;
  return await Promise.all(
    servers.slice(0, count).map(async (server) => {
      await server.createDatabase(name);
      return { url: server.adminUrl(name) };
    }),
  );
}

/** The same as cells, spread evenly. */
async function createCells(count: number): Promise<Record<string, { url: string }>> {
  const names = NAMES.slice(0, count);
  const found = await createDatabases(count);
  for (const [i, here] of names.entries()) {
    await withDatabase(found[i]?.url ?? "", (db) => makeCell(db.database, { here, map: spreadBuckets(names) }));
  }
  return Object.fromEntries(names.map((name, i) => [name, found[i] ?? { url: "" }]));
}

async function withDatabase<Result>(url: string, work: (db: TestDatabase) => Promise<Result>): Promise<Result> {
  const database = openDatabase({ url, name: "bench", connectionsMax: 4, onError: () => undefined });
  const query = async <Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) =>
    (await database.query<Row>(text, values)).rows;
  try {
    return await work({ url, database, query });
  } finally {
    await database.end();
  }
}

/** A fleet over cells, a worker for each. */
async function startCells(cells: Record<string, { url: string }>): Promise<Fleet> {
  const settings = { ...settingsFor("", { logLevel: "fatal" }), databaseUrl: undefined, cells: cellsSetting(cells) };
  return await startFleet({ settings, databaseUrl: undefined, workers: 1, say: print });
}

/** CPU of everything but the load generator, for each event that is sent in arrays of 500 and handled at once. */
async function measureCost(): Promise<void> {
  const events = 60_000;
  const costs: Record<"one" | "two", number[]> = { one: [], two: [] };
  for (let round = 0; round < Number(flags.iterations); round += 1) {
    const [one] = await createDatabases(1);
    const url = one?.url ?? "";
    costs.one.push(
      await costOf(events, [url], () =>
        startFleet({ settings: settingsFor(url), databaseUrl: url, workers: 2, say: print }),
      ),
    );
    const cells = await createCells(2);
    const urls = Object.values(cells).map((cell) => cell.url);
    costs.two.push(await costOf(events, urls, () => startCells(cells)));
  }
  const [one, two] = [median(costs.one), median(costs.two)];
  print(
    `cost of an event, CPU of API, workers and PostgreSQL: one database ${one.toFixed(0)} µs, two cells ${two.toFixed(0)} µs, ${(two / one).toFixed(2)} times`,
  );
}

async function costOf(events: number, urls: readonly string[], start: () => Promise<Fleet>): Promise<number> {
  const clients = urls.map((url) => new pg.Client(url));
  for (const client of clients) await client.connect();
  const fleet = await start();
  const read = async () => {
    const all = await Promise.all(clients.map(readCpuSeconds));
    const postgres = all.reduce((sum, each) => sum + each.postgres, 0);
    return postgres + (all[0]?.api ?? 0) + (all[0]?.workers ?? 0);
  };
  try {
    const before = await read();
    await runLoad({ url: fleet.url, accounts: ACCOUNTS, seed: SEED, events, batch: 500, connections: 4 });
    const sums = clients.map(async (client) => {
      const { rows } = await client.query<{ received: string }>(
        "select coalesce(sum(last_seq), 0) as received from inturn.accounts",
      );
      await untilSettled(client, Number(rows[0]?.received));
    });
    await Promise.all(sums);
    return (((await read()) - before) / events) * 1e6;
  } finally {
    await fleet.stop();
    await Promise.all(clients.map((client) => client.end()));
  }
}

/** Events a second for the accounts of two cells, with the third there and without; senders for its accounts go on all the time. */
async function measureAway(): Promise<void> {
  const cells = await createCells(3);
  const fleet = await startCells(cells);
  const stopped = new AbortController();
  const counts = { a: 0, b: 0, c: 0, refused: 0 };
  const ids = Array.from({ length: 3_000 }, (_, i) => `account-${i}`);
  const senders = NAMES.map(async (name) => {
    const own = ids.filter((id) => cellOf(MAP, id) === name);
    for (let i = 0; !stopped.signal.aborted; i += 100) {
      const events = Array.from({ length: 100 }, (_, j) => ({ accountId: own[(i + j) % own.length], data: {} }));
      const body = JSON.stringify(events);
      const headers = { "content-type": "application/json" };
      const { status, body: answer } = await fetch(`${fleet.url}/v1/events`, { method: "POST", headers, body });
      await answer?.cancel();
      if (status === 202) counts[name] += 100;
      else {
        counts.refused += 1;
        await sleep(100);
      }
    }
  });
  const rate = async () => {
    const before = counts.a + counts.b;
    await sleep(5_000);
    return (counts.a + counts.b - before) / 5;
  };
  const rates: Record<"there" | "away", number[]> = { there: [], away: [] };
  await sleep(2_000);
  for (let round = 0; round < Number(flags.iterations); round += 1) {
    rates.there.push(await rate());
    await servers[2]?.stop("immediate");
    await sleep(500);
    rates.away.push(await rate());
    await servers[2]?.start();
    await sleep(2_000);
  }
  stopped.abort();
  await Promise.all(senders);
  await fleet.stop();
  const [there, away] = [median(rates.there), median(rates.away)];
  print(
    `accounts of two cells of three: ${Math.round(there)} events/s, ${Math.round(away)} while the third is away, ${(away / there).toFixed(2)} times; ${counts.refused} requests of the third were refused`,
  );
}

/** A page of 100 accounts of one cell, and of all three. */
async function measurePage(): Promise<void> {
  const cells = await createCells(3);
  const fleet = await startCells(cells);
  await runLoad({ url: fleet.url, accounts: 10_000, seed: SEED, events: 30_000, batch: 500, connections: 4 });
  const time = async (path: string) => {
    const startedMs = performance.now();
    await (await fetch(fleet.url + path)).text();
    return performance.now() - startedMs;
  };
  const times: Record<"one" | "all", number[]> = { one: [], all: [] };
  for (let i = 0; i < 200; i += 1) {
    times.one.push(await time("/cells/a/v1/accounts"));
    times.all.push(await time("/v1/accounts"));
  }
  await fleet.stop();
  const [one, all] = [median(times.one), median(times.all)];
  print(
    `a page of accounts: of one cell ${one.toFixed(1)} ms, of three ${all.toFixed(1)} ms, ${(all / one).toFixed(2)} times`,
  );
}

/** A bucket of 400,000 events, most of them settled, while nothing else happens. */
async function measureLarge(): Promise<void> {
  const cells = await createCells(2);
  const found = Object.entries(cells).map(([name, { url }]) => ({ name, url }));
  const bucket = 7;
  await withDatabase(cells["a"]?.url ?? "", async (db) => {
    await db.query(
      `with ids as (select 'large-' || n as id from generate_series(1, 200000) as n where inturn.bucket_of('large-' || n) = $1 limit 400)
       insert into inturn.accounts (id, last_seq, processed_seq, state) select id, 1000, 990, 'scheduled' from ids`,
      [bucket],
    );
    await db.query(
      `insert into inturn.events (account_id, seq, data, bytes, received_at, processed_at, outcome)
       select a.id, n, json_build_object('n', n, 'text', repeat('x', 40)), 60, now() - interval '1 hour',
         case when n <= 990 then now() - interval '1 hour' end, case when n <= 990 then 'processed' end
       from inturn.accounts as a cross join generate_series(1, 1000) as n`,
    );
    await db.query("vacuum analyze inturn.events");
  });
  const mover = new Mover({ cells: found, waitMs: 60_000, signal: new AbortController().signal });
  const startedMs = performance.now();
  const moved = await mover.move({ bucket, to: "b" });
  const seconds = (performance.now() - startedMs) / 1_000;
  await mover.close();
  print(
    `a bucket of ${moved?.events} events: moved in ${seconds.toFixed(1)} s, ${Math.round((moved?.events ?? 0) / seconds)} events/s with the deletion; it took none for ${moved?.frozenMs.toFixed(0)} ms`,
  );
}

/** Buckets that are moved at random under load; half of the movers are killed at a random step. */
async function measureMoves(): Promise<void> {
  const cells = (await createCells(3)) as Record<keyof TestCells, { url: string }>;
  const report = await withDatabase(cells.a.url, (a) =>
    withDatabase(cells.b.url, (b) =>
      withDatabase(cells.c.url, (c) =>
        moveAtRandom({ a, b, c }, { seed: SEED, moves: Number(flags.moves), killed: 0.5, eventsPerSecond: 200 }),
      ),
    ),
  );
  const { events, moves, kills, frozenMs } = report;
  print(
    `${moves} moves, ${kills} movers killed, ${events} events meanwhile: nothing lost, doubled or out of order; a bucket took none for ${median(frozenMs).toFixed(0)} ms (median), ${(frozenMs.at(-1) ?? 0).toFixed(0)} ms at most`,
  );
}
