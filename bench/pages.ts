/**
 * `npm run bench:pages`: how fast the overview and the accounts answer among 100,000 accounts and 1,000,000 events, and by which
 * indexes their rows are found.
 */
import { parseArgs } from "node:util";
import { readSettings } from "../src/config/settings.ts";
import { type Database, openDatabase } from "../src/db/pool.ts";
import { readPulse } from "../src/db/pulse.ts";
import { listUrgentAccounts } from "../src/db/urgent-accounts.ts";
import { listWorkers } from "../src/db/workers.ts";
import { createLog } from "../src/log/log.ts";
import { startApi } from "../src/service/api.ts";
import { median, openScratch } from "./support.ts";

const { values: flags } = parseArgs({
  options: { accounts: { type: "string", default: "100000" }, requests: { type: "string", default: "50" } },
});

const EVENTS_PER_ACCOUNT = 10;

const PATHS = [
  "/",
  "/accounts",
  "/accounts?state=blocked",
  "/accounts?state=idle&page=40",
  "/accounts?search=account-07",
  "/accounts?sort=pending",
  "/accounts?sort=lag",
  "/accounts/account-000050",
  "/v1/accounts",
  "/v1/accounts?state=blocked",
  "/v1/accounts?state=running",
  "/v1/accounts?state=idle&search=account-2",
  "/v1/accounts?state=paused",
  "/v1/accounts?sort=pending",
  "/results",
  "/dead-letters",
  "/lanes/data?lanes=1000&seconds=0",
];

/** Of a hundred accounts two have events that wait, and of fifty of those one is blocked and one retries. */
const FILL = `
  insert into inturn.accounts (id, last_seq, processed_seq, state, next_attempt_at, head_error, head_attempts, state_since)
  select 'account-' || lpad(i::text, 6, '0'), ${EVENTS_PER_ACCOUNT}, case when i % 50 = 0 then 3 else ${EVENTS_PER_ACCOUNT} end,
    case when i % 1000 = 0 then 'blocked' when i % 500 = 0 then 'retrying' when i % 50 = 0 then 'scheduled' else 'idle' end,
    case when i % 500 = 0 and i % 1000 <> 0 then now() + interval '1 hour' end,
    case when i % 500 = 0 then 'TypeError' end, case when i % 500 = 0 then 4 else 0 end, now() - i % 600 * interval '1 second'
  from generate_series(1, $1::int) as i`;

const FILL_EVENTS = `
  insert into inturn.events (account_id, seq, data, received_at, started_at, processed_at, duration_ms, attempts, outcome)
  select a.id, seq, '{"n": 1}', t.moment, case when done then t.moment + seq * interval '1 second' end,
    case when done then t.moment + seq * interval '1 second' + interval '100 ms' end, case when done then 100 end,
    case when done then 1 else 0 end, case when done then 'processed' end
  from inturn.accounts as a, generate_series(1, ${EVENTS_PER_ACCOUNT}) as seq,
    lateral (select a.state_since - interval '20 seconds' as moment, seq <= a.processed_seq as done) as t`;

const scratch = await openScratch();
try {
  await scratch.recreate();
  const database = openDatabase({
    url: scratch.url,
    name: "bench",
    connectionsMax: 1,
    onError: () => undefined,
    statementMsMax: 600_000,
  });
  await database.query(FILL, [Number(flags.accounts)]);
  await database.query(FILL_EVENTS);
  await database.query("vacuum analyze");
  await measurePages();
  await explain(database);
  await database.end();
} finally {
  await scratch.release();
}

async function measurePages(): Promise<void> {
  const log = createLog({ level: "warn", name: "bench" });
  const api = await startApi({ settings: readSettings({ PORT: "0" }), databaseUrl: scratch.url, log });
  try {
    for (const path of PATHS) {
      const times: number[] = [];
      for (let i = 0; i < Number(flags.requests); i++) {
        const startedMs = performance.now();
        const response = await fetch(api.url + path);
        await response.text();
        if (response.status !== 200) throw new Error(`${path} answered ${response.status}`);
        times.push(performance.now() - startedMs);
      }
      const [middle, slowest] = [median(times), Math.max(...times)].map((ms) => `${ms.toFixed(1).padStart(6)} ms`);
      console.log(`${path.padEnd(32)} median ${middle}, slowest ${slowest}`);
    }
  } finally {
    await api.close();
  }
}

/** Which scans the statements of the two pages make. */
async function explain(database: Database): Promise<void> {
  const asked: { text: string; values: unknown[] }[] = [];
  const query = async (text: string, values: unknown[] = []) => {
    asked.push({ text, values });
    return await database.query(text, values);
  };
  const watched = { query, connect: async () => ({ query, release: () => undefined }) } as unknown as Database;
  const page = { states: [], prefix: "", offset: 0, limit: 51 };
  for (const sort of ["urgency", "pending", "lag"] as const) await listUrgentAccounts(watched, { ...page, sort });
  await listWorkers(watched, 20);
  await readPulse(watched);
  for (const { text, values } of asked) {
    const { rows } = await database.query<{ "QUERY PLAN": string }>(`explain ${text}`, values);
    const scans = rows.map((row) => /((?:Index|Seq|Bitmap \w+) .*Scan.*?)  \(cost/.exec(row["QUERY PLAN"])?.[1]);
    console.log(`\n${text.trim().replaceAll(/\s+/g, " ").slice(0, 100)}…`);
    for (const scan of new Set(scans.filter(Boolean))) console.log(`  ${scan}`);
  }
}
