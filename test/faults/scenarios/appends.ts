/** Somebody appends from SQL, in transactions of their own that take their time. */
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import type { Bench } from "../bench.ts";
import type { Random } from "../random.ts";
import { accountsNamed, type Scenario } from "../scenario.ts";

const ACCOUNTS = 6;

const EVENTS_PER_ACCOUNT = 30;

/** Appends to one account commit late, again and again just when its last event is being settled. */
export const slowAppends: Scenario = {
  name: "slow-appends",
  fault: 28,
  promise: "an event that commits late is neither missed nor overtaken",
  async run(bench) {
    await bench.start({ workers: 2 });
    const writers = accountsNamed("w", ACCOUNTS).map((account) => appendSlowly(bench, account, bench.random.fork()));
    await Promise.all(writers);
  },
};

async function appendSlowly(bench: Bench, account: string, random: Random): Promise<void> {
  const client = new pg.Client({ connectionString: bench.server.url(bench.database) });
  await client.connect();
  try {
    for (let n = 1; n <= EVENTS_PER_ACCOUNT; n++) {
      const id = `${account}-${n}`;
      await client.query("begin");
      const { rows } = await client.query<{ seq: number }>(
        "select seq::float8 from inturn.append_event($1, $2::json, null, $3)",
        [account, JSON.stringify({ n, ms: random.int(0, 60) }), id],
      );
      await sleep(random.int(0, 120));
      // Now and then somebody thinks better of it: then the number must not be missing.
      const isDropped = random.oneIn(6);
      await client.query(isDropped ? "rollback" : "commit");
      if (isDropped) n -= 1;
      else bench.clients.note([{ account, n, id }], rows);
    }
  } finally {
    await client.end();
  }
}
