/** pg-boss: one queue, policy `key_strict_fifo`, the account as `singletonKey`. */
import { PgBoss } from "pg-boss";
import { nothing, type Peer, partsOf, SEND_TOGETHER } from "./peer.ts";

const QUEUE = "events";

interface Data {
  readonly accountId: string;
  readonly n: number;
}

async function open(connectionString: string): Promise<PgBoss> {
  const boss = new PgBoss({ connectionString, supervise: false, schedule: false, max: 4 });
  boss.on("error", () => undefined);
  await boss.start();
  return boss;
}

const common: Omit<Peer, "name" | "what" | "work"> = {
  package: "pg-boss",
  events: 20_000,
  isEndToEnd: false,
  start: nothing,
  async send({ databaseUrl }, events) {
    const boss = await open(databaseUrl);
    await boss.createQueue(QUEUE, { policy: "key_strict_fifo" });
    let sent = 0;
    // Jobs of one insert have the same time: their ids say which came first.
    const nextId = () => `00000000-0000-7000-8000-${(sent++).toString(16).padStart(12, "0")}`;
    for (const part of partsOf(events, SEND_TOGETHER)) {
      await boss.insert(
        QUEUE,
        part.map((data) => ({ id: nextId(), data, singletonKey: data.accountId })),
      );
    }
    await boss.stop();
  },
};

/** As its docs say: a worker, which looks again after half a second. */
export const pgBossWork: Peer = {
  ...common,
  name: "pg-boss work",
  what: "key_strict_fifo, work() with batches of 1,000",
  async work({ databaseUrl }, _share, onEvent) {
    const boss = await open(databaseUrl);
    await boss.work<Data>(QUEUE, { batchSize: 1_000, pollingIntervalSeconds: 0.5 }, async (jobs) => {
      for (const { data } of jobs) onEvent(data.accountId, data.n);
    });
    return async () => await boss.stop({ graceful: false });
  },
};

/** As fast as it goes: a loop of our own around its fetch. */
export const pgBossFetch: Peer = {
  ...common,
  name: "pg-boss fetch",
  what: "key_strict_fifo, a loop of fetch and complete, 1,000 jobs at a time",
  async work({ databaseUrl }, _share, onEvent) {
    const boss = await open(databaseUrl);
    let stopped = false;
    const working = (async () => {
      while (!stopped) {
        const jobs = await boss.fetch<Data>(QUEUE, { batchSize: 1_000 });
        for (const { data } of jobs) onEvent(data.accountId, data.n);
        if (jobs.length > 0)
          await boss.complete(
            QUEUE,
            jobs.map(({ id }) => id),
          );
      }
    })();
    return async () => {
      stopped = true;
      await working;
      await boss.stop();
    };
  },
};
