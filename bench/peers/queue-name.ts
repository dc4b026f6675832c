/** graphile-worker alone: one job per event, the account as `queue_name`. */
import { Logger, run, runMigrations } from "graphile-worker";
import pg from "pg";
import { nothing, type Peer, partsOf, SEND_TOGETHER } from "./peer.ts";

export const queueName: Peer = {
  name: "graphile-worker",
  package: "graphile-worker",
  what: "queue_name = account, concurrency 100",
  events: 5_000,
  isEndToEnd: false,
  start: nothing,
  async send({ databaseUrl: connectionString }, events) {
    await runMigrations({ connectionString, logger: new Logger(() => () => undefined) });
    const client = new pg.Client({ connectionString });
    await client.connect();
    for (const part of partsOf(events, SEND_TOGETHER)) {
      await client.query(
        `select count(*) from graphile_worker.add_jobs(array(
           select row('event', json_build_object('accountId', account, 'n', n), account, null, null, null, null, null)::graphile_worker.job_spec
           from unnest($1::text[], $2::integer[]) with ordinality as e (account, n, number) order by number))`,
        [part.map(({ accountId }) => accountId), part.map(({ n }) => n)],
      );
    }
    await client.end();
  },
  async work({ databaseUrl: connectionString }, _share, onEvent) {
    const runner = await run({
      connectionString,
      concurrency: 100,
      maxPoolSize: 20,
      noHandleSignals: true,
      logger: new Logger(() => () => undefined),
      parsedCronItems: [],
      taskList: {
        event: (payload) => {
          const { accountId, n } = payload as { accountId: string; n: number };
          onEvent(accountId, n);
        },
      },
    });
    return async () => await runner.stop();
  },
};
