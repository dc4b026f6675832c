/**
 * What the database itself can do: two connections write the rows that two workers write for their settles, and nothing else. No
 * claims, no fencing, no handler, no order but that of the loop.
 */
import pg from "pg";
import { createWorkload } from "../src/domain/workload.ts";
import { ACCOUNTS, appendBacklog, type Measurement, SEED } from "./support.ts";

const CONNECTIONS = 2;

/** The next event of each of these accounts. */
export const SETTLE_NEXT = {
  name: "settle_next",
  text: `
    with a as (
      update inturn.accounts as a set processed_seq = a.processed_seq + 1
      where a.id = any ($1::text[]) and a.processed_seq < a.last_seq
      returning a.id, a.processed_seq
    )
    update inturn.events as e
    set outcome = 'processed', started_at = clock_timestamp(), processed_at = clock_timestamp(), duration_ms = 0, attempts = 1
    from a where e.account_id = a.id and e.seq = a.processed_seq`,
};

/** Settles a backlog by bare statements. */
export async function measureBareSql(url: string, events: number): Promise<Measurement> {
  const clients = Array.from({ length: CONNECTIONS }, () => new pg.Client({ connectionString: url }));
  try {
    await Promise.all(clients.map((client) => client.connect()));
    const [first] = clients;
    if (first === undefined) throw new Error("there is no connection");
    await appendBacklog(first, createWorkload({ events, accounts: ACCOUNTS, seed: SEED }).events);
    const { rows } = await first.query<{ id: string }>("select id from inturn.accounts order by id");
    const startedMs = performance.now();
    const settled = await Promise.all(
      clients.map(async (client, i) => {
        const accountIds = rows.filter((_, n) => n % CONNECTIONS === i).map(({ id }) => id);
        let count = 0;
        for (;;) {
          const { rowCount } = await client.query({ ...SETTLE_NEXT, values: [accountIds] });
          if (rowCount === 0 || rowCount === null) return count;
          count += rowCount;
        }
      }),
    );
    const seconds = (performance.now() - startedMs) / 1_000;
    return { events: settled.reduce((sum, count) => sum + count, 0), seconds };
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}
