/**
 * `npm run bench:retention`: what it takes to forget old events. `ways`: deleted little by little, as workers and `prune` do it, beside
 * partitions by time that are dropped. `drain`: a backlog while old events go. `endless`: events at a steady rate, kept for a minute.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type pg from "pg";
import { type Database, openDatabase } from "../src/db/pool.ts";
import { createWorkload } from "../src/domain/workload.ts";
import { createPruning, pruneAll } from "../src/engine/prune.ts";
import { type Fleet, startFleet } from "../src/service/fleet.ts";
import { appendBacklog, median, openScratch, print, SEED, sendSteadily, settingsFor, untilSettled } from "./support.ts";

const { values: flags } = parseArgs({
  options: {
    only: { type: "string", default: "ways,drain,endless" },
    /** Old events. */
    events: { type: "string", default: "1000000" },
    minutes: { type: "string", default: "5" },
    rate: { type: "string", default: "1000" },
  },
});

const EVENTS = Number(flags.events);
const ACCOUNTS = 1_000;
const DRAINED = 100_000;
const PARTITIONS = 30;

/** Rounds of the look-ups, of so many keys each. */
const LOOK_UPS = { rounds: 100, keys: 1_000 };

const MINUTE_IN_DAYS = 1 / 1_440;

const scratch = await openScratch();
const parts: Readonly<Record<string, () => Promise<void>>> = {
  ways: async () => await withClient(compareWays),
  drain: async () => {
    for (const isPruned of [false, true]) await withClient((client) => measureDrain(client, isPruned));
  },
  endless: async () => await withClient(runEndlessly),
};
try {
  for (const name of flags.only.split(",")) {
    const part = parts[name];
    if (part === undefined) throw new Error(`there is no ${name}; there are ${Object.keys(parts).join(", ")}`);
    await part();
  }
} finally {
  await scratch.release();
}
process.exit();

/** Over an empty database. */
async function withClient(work: (client: pg.Client) => Promise<void>): Promise<void> {
  await scratch.recreate();
  const client = await scratch.connect();
  await work(client);
  await client.end();
}

/** Events that were settled long ago, the same number for each account. */
async function writeOldEvents(client: pg.Client): Promise<void> {
  const each = Math.ceil(EVENTS / ACCOUNTS);
  await client.query(
    "insert into inturn.accounts (id, last_seq, processed_seq) select 'old-' || n, $2, $2 from generate_series(1, $1::integer) as n",
    [ACCOUNTS, each],
  );
  await client.query(
    `insert into inturn.events (account_id, seq, data, received_at, started_at, processed_at, outcome, attempts)
     select 'old-' || n, seq, '{"amount": 100, "currency": "EUR"}', at, at, at, 'processed', 1
     from generate_series(1, $2::integer) as seq cross join generate_series(1, $1::integer) as n
     cross join lateral (select now() - interval '32 days' + seq * interval '30 days' / $2 as at) as t`,
    [ACCOUNTS, each],
  );
  await client.query("vacuum analyze inturn.accounts, inturn.events");
  await client.query("checkpoint");
}

/** As a worker has it. */
function openPool(): Database {
  const how = { url: scratch.url, name: "bench", connectionsMax: 1, keyedPlans: true };
  return openDatabase({ ...how, onError: () => undefined });
}

async function startWorkers(): Promise<Fleet> {
  const settings = settingsFor(scratch.url);
  return await startFleet({ settings, databaseUrl: scratch.url, workers: 2, say: () => undefined });
}

async function pruneEverything(): Promise<number> {
  const database = openPool();
  try {
    return await pruneAll(database, { keepDays: 1 });
  } finally {
    await database.end();
  }
}

async function compareWays(client: pg.Client): Promise<void> {
  await writeOldEvents(client);
  await makePartitions(client);
  const plain = await lookUp(client, "inturn.events");
  const partitioned = await lookUp(client, "public.parts");
  print(
    `${EVENTS} events: ${LOOK_UPS.keys} look-ups by account and seq: ${plain.toFixed(1)} ms; over ${PARTITIONS} partitions ${partitioned.toFixed(1)} ms`,
  );

  const before = await sizeOf(client, "inturn.events");
  await report(client, "deleted little by little", pruneEverything);
  await report(client, "  and vacuumed", async () => await client.query("vacuum inturn.events"));
  print(`  the table had ${before}, and has ${await sizeOf(client, "inturn.events")}, free for new events`);

  await report(client, `one of ${PARTITIONS} partitions detached and dropped`, async () => {
    await client.query("alter table public.parts detach partition public.part_0");
    await client.query("drop table public.part_0");
  });
}

async function makePartitions(client: pg.Client): Promise<void> {
  await client.query(
    "create table public.parts (like inturn.events including defaults) partition by range (received_at)",
  );
  await client.query("alter table public.parts add primary key (account_id, seq, received_at)");
  const nowMs = Date.now();
  const quotedDaysAgo = (days: number) => `'${new Date(nowMs - days * 86_400_000).toISOString()}'`;
  for (let n = 0; n < PARTITIONS; n += 1) {
    const low = n === 0 ? "minvalue" : quotedDaysAgo(PARTITIONS + 2 - n);
    const high = n === PARTITIONS - 1 ? "maxvalue" : quotedDaysAgo(PARTITIONS + 1 - n);
    await client.query(`create table public.part_${n} partition of public.parts for values from (${low}) to (${high})`);
  }
  await client.query("insert into public.parts select * from inturn.events");
  await client.query("vacuum analyze public.parts");
}

/** The median of a join by the keys that every settle looks up: in ms. */
async function lookUp(client: pg.Client, table: string): Promise<number> {
  const each = Math.ceil(EVENTS / ACCOUNTS);
  const accountIds = Array.from({ length: LOOK_UPS.keys }, (_, i) => `old-${(i % ACCOUNTS) + 1}`);
  await client.query("set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off");
  const times: number[] = [];
  for (let round = 0; round < LOOK_UPS.rounds; round += 1) {
    const seqs = accountIds.map((_, i) => ((round * 7_919 + i * 104_729) % each) + 1);
    const startedMs = performance.now();
    await client.query({
      name: table,
      text: `select count(e.data) from unnest($1::text[], $2::bigint[]) as k (id, seq) join ${table} as e on e.account_id = k.id and e.seq = k.seq`,
      values: [accountIds, seqs],
    });
    times.push(performance.now() - startedMs);
  }
  await client.query("reset enable_seqscan; reset enable_hashjoin; reset enable_mergejoin");
  return median(times);
}

async function report(client: pg.Client, what: string, work: () => Promise<unknown>): Promise<void> {
  const wal = async () =>
    Number(
      (await client.query<{ bytes: string }>("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') as bytes")).rows[0]
        ?.bytes,
    );
  const [fromBytes, fromMs] = [await wal(), performance.now()];
  await work();
  const [seconds, megabytes] = [(performance.now() - fromMs) / 1_000, ((await wal()) - fromBytes) / 1_048_576];
  print(`${what}: ${seconds.toFixed(1)} s, ${megabytes.toFixed(1)} MB of WAL`);
}

async function sizeOf(client: pg.Client, table: string): Promise<string> {
  const { rows } = await client.query<{ size: string }>(
    "select pg_size_pretty(pg_total_relation_size($1::regclass)) as size",
    [table],
  );
  return rows[0]?.size ?? "";
}

/** A backlog is drained alone, or while old events are deleted as fast as that goes. */
async function measureDrain(client: pg.Client, isPruned: boolean): Promise<void> {
  await writeOldEvents(client);
  await appendBacklog(client, createWorkload({ events: DRAINED, accounts: ACCOUNTS, seed: SEED }).events);
  const { rows } = await client.query<{ settled: string }>("select sum(processed_seq) as settled from inturn.accounts");
  const fleet = await startWorkers();
  const pruning = isPruned ? pruneEverything() : Promise.resolve(0);
  await untilSettled(client, Number(rows[0]?.settled) + DRAINED);
  const span = await client.query<{ seconds: number }>(
    "select extract(epoch from max(processed_at) - min(started_at))::float8 as seconds from inturn.events where account_id not like 'old-%'",
  );
  const rate = DRAINED / (span.rows[0]?.seconds ?? 0);
  print(`${DRAINED} events drained ${isPruned ? "while old ones are deleted" : "alone"}: ${rate.toFixed(0)} events/s`);
  await pruning;
  await fleet.stop();
}

/** The steps of a worker, but for a minute instead of days. */
async function runEndlessly(client: pg.Client): Promise<void> {
  const fleet = await startWorkers();
  const database = openPool();
  const over = new AbortController();
  const sender = await scratch.connect();
  const sending = sendSteadily(sender, { accounts: ACCOUNTS, perSecond: Number(flags.rate) }, over.signal);
  const prune = createPruning({ database, keepDays: MINUTE_IN_DAYS });
  const pruning = (async () => {
    while (!over.signal.aborted) await sleep(Math.min(await prune(), 1_000));
  })();
  for (let halfMinutes = 1; halfMinutes <= 2 * Number(flags.minutes); halfMinutes += 1) {
    await sleep(30_000);
    const { rows } = await client.query<{ events: string; received: string; pending: string }>(
      `select (select count(*) from inturn.events) as events, sum(last_seq) as received, sum(last_seq - processed_seq) as pending from inturn.accounts`,
    );
    const [row] = rows;
    print(
      `after ${halfMinutes / 2} min: ${row?.received} received, ${row?.pending} wait, ${row?.events} stored in ${await sizeOf(client, "inturn.events")}`,
    );
  }
  over.abort();
  await Promise.all([sending, pruning]);
  await fleet.stop();
  await Promise.all([sender.end(), database.end()]);
}
