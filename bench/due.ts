/**
 * `npm run bench:due`: what one look for lost wake-ups, and a whole round of them, take among 4,000 to 100,000 accounts that are
 * due: when every wake-up is there, and when all are lost.
 */
import { type Database, openDatabase } from "../src/db/pool.ts";
import { type DueMark, FIRST_DUE, wakeLost } from "../src/db/wake-ups.ts";
import { median, openScratch } from "./support.ts";

const SIZES = [4_000, 20_000, 100_000];

const FILL = `
  insert into inturn.accounts (id, last_seq, state, state_since)
  select 'account-' || i, 1, 'scheduled', now() - interval '1 hour' + i * interval '1 ms' from generate_series(1, $1::int) as i`;

const WAKE = "select inturn.wake(array_agg(a.id), array_agg(a.epoch)) from inturn.accounts as a";

const say = (line: string) => console.error(line);
const scratch = await openScratch();
try {
  console.log("| accounts due | wake-ups | one look, ms | a round, looks | a round, ms | woken |");
  console.log("|---:|---|---:|---:|---:|---:|");
  for (const accounts of SIZES) {
    await scratch.recreate();
    const database = openDatabase({
      url: scratch.url,
      name: "bench",
      connectionsMax: 1,
      keyedPlans: true,
      onError: (error) => say(String(error)),
    });
    await database.query(FILL, [accounts]);
    await database.query(WAKE);
    await database.query("vacuum analyze inturn.accounts");
    await database.query("vacuum analyze graphile_worker._private_jobs");
    await report(database, accounts, "all there");
    await database.query("truncate graphile_worker._private_jobs");
    await report(database, accounts, "all lost");
    await database.end();
  }
} finally {
  await scratch.release();
}

async function report(database: Database, accounts: number, wakeUps: string): Promise<void> {
  const looksMs: number[] = [];
  let woken = 0;
  for (let after: DueMark | null = FIRST_DUE; after !== null; ) {
    const startedMs = performance.now();
    const look = await wakeLost(database, after);
    looksMs.push(performance.now() - startedMs);
    woken += look?.woken ?? 0;
    after = look?.isFull === true ? look.last : null;
  }
  const roundMs = looksMs.reduce((sum, ms) => sum + ms, 0);
  console.log(
    `| ${accounts} | ${wakeUps} | ${median(looksMs).toFixed(1)} | ${looksMs.length} | ${roundMs.toFixed(0)} | ${woken} |`,
  );
}
