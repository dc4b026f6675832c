/**
 * A handler that records what it does in a table without any unique constraint, over a connection of its own: the
 * witness that owes nothing to the system under test. `data` steers it: `{ms}` sleeps, `{failures}` fails that often.
 */
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import type { Handler } from "../../src/engine/handler.ts";

const effects = new pg.Pool({ connectionString: process.env["EFFECTS_URL"], max: 10 });
effects.on("error", () => undefined);

const handler: Handler = async (event, context) => {
  const { ms = 0, failures = 0 } = event.data as { ms?: number; failures?: number };
  const { rows } = await effects.query<{ id: number }>(
    `insert into effects (account_id, seq, epoch, attempt, pid, started_at)
     values ($1, $2, $3, $4, $5, clock_timestamp()) returning id`,
    [event.accountId, event.seq, context.epoch, context.attempt, process.pid],
  );
  if (ms > 0) await sleep(ms);
  if (context.attempt <= failures) throw new Error(`attempt ${context.attempt} fails as told`);
  await effects.query("update effects set ended_at = clock_timestamp() where id = $1", [rows[0]?.id]);
};

export default handler;
