/** Somebody appends from SQL, in transactions of their own that take their time. */
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import type { Bench } from "../bench.ts";
import type { Random } from "../random.ts";
import { accountsNamed, type Scenario } from "../scenario.ts";

const CONNECTIONS = 6;

const ACCOUNTS_PER_CONNECTION = 12;

/** An account's last event is the one that nothing behind it can make good. */
const EVENTS_PER_ACCOUNT = 3;

/** Appends commit late, just when the event before is being settled. */
export const slowAppends: Scenario = {
  name: "slow-appends",
  fault: 28,
  promise: "an event that commits late is neither missed nor overtaken",
  async run(bench) {
    await bench.start({ workers: 2 });
    await Promise.all(
      Array.from({ length: CONNECTIONS }, (_, i) =>
        appendSlowly(bench, accountsNamed(`w${i + 1}-`, ACCOUNTS_PER_CONNECTION), bench.random.fork()),
      ),
    );
  },
};

async function appendSlowly(bench: Bench, accounts: readonly string[], random: Random): Promise<void> {
  const client = new pg.Client({ connectionString: bench.server.url(bench.database) });
  await client.connect();
  for (const account of accounts) {
    for (let n = 1; n <= EVENTS_PER_ACCOUNT; n += Number(await appendOnce({ bench, client, account, n, random }))) {
      // The event before is in a handler's hand by now, and nothing waits behind it.
      await sleep(random.int(0, 60));
    }
  }
  await client.end();
}

/** Whether it was committed: now and then somebody thinks better of it, and its number must not be missing. */
async function appendOnce(append: {
  bench: Bench;
  client: pg.Client;
  account: string;
  n: number;
  random: Random;
}): Promise<boolean> {
  const { bench, client, account, n, random } = append;
  const id = `${account}-${n}`;
  const data = JSON.stringify({ n, ms: random.int(0, 60) });
  await client.query("begin");
  const { rows } = await client.query<{ seq: number }>(
    "select seq::float8 from inturn.append_event($1, $2::json, null, $3)",
    [account, data, id],
  );
  await sleep(random.int(0, 80));
  const isDropped = random.oneIn(6);
  await client.query(isDropped ? "rollback" : "commit");
  if (!isDropped) bench.clients.note([{ account, n, id }], rows);
  return !isDropped;
}
