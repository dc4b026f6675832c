/** What the database alone can do: the rows of Inturn's settles, written in a loop. No leases, no fencing, nothing read: a bound, no choice. */
import pg from "pg";
import { SETTLE_NEXT } from "../bare-sql.ts";
import { append, migrate } from "./inturn.ts";
import { type Peer, WORKERS } from "./peer.ts";

export const bareSql: Peer = {
  name: "bare SQL",
  package: "pg",
  what: "a bound: a loop that writes the rows of Inturn's settles, one event of each account a statement",
  events: 100_000,
  isEndToEnd: false,
  start: migrate,
  send: append,
  async work({ databaseUrl }, share, onEvent) {
    const client = new pg.Client({ connectionString: databaseUrl });
    await client.connect();
    const { rows } = await client.query<{ id: string; last: number }>(
      "select id, last_seq::integer as last from inturn.accounts order by id",
    );
    let accounts = rows.filter((_, i) => i % WORKERS === share);
    const working = (async () => {
      for (let n = 1; accounts.length > 0; n += 1) {
        await client.query({ ...SETTLE_NEXT, values: [accounts.map(({ id }) => id)] });
        for (const { id } of accounts) onEvent(id, n);
        accounts = accounts.filter(({ last }) => last > n);
      }
    })();
    return async () => {
      await working;
      await client.end();
    };
  },
};
