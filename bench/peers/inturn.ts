/** Inturn itself, by the same rules: two worker processes, and its HTTP API where events come while they run. */
import pg from "pg";
import { readSettings } from "../../src/config/settings.ts";
import { migrateDatabase } from "../../src/db/migrate.ts";
import type { WorkloadEvent } from "../../src/domain/workload.ts";
import { createInturn } from "../../src/index.ts";
import { startFleet } from "../../src/service/fleet.ts";
import { post } from "../post.ts";
import { appendBacklog } from "../support.ts";
import { type Peer, partsOf, type Surroundings } from "./peer.ts";

/** The address of the API that `start` has started. */
let url = "";

/** Makes the tables. */
export async function migrate({ databaseUrl }: Surroundings): Promise<() => Promise<void>> {
  await migrateDatabase(databaseUrl);
  return async () => undefined;
}

async function startApi(surroundings: Surroundings): Promise<() => Promise<void>> {
  const { databaseUrl } = surroundings;
  await migrate(surroundings);
  const settings = { ...readSettings({}, { logLevel: "warn", handler: "sleep", port: 0 }), databaseUrl };
  const fleet = await startFleet({ settings, databaseUrl, workers: 0, say: () => undefined });
  ({ url } = fleet);
  return async () => await fleet.stop();
}

/** Stores events without HTTP. */
export async function append({ databaseUrl }: Surroundings, events: readonly WorkloadEvent[]): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await appendBacklog(client, events);
  await client.end();
}

/** Each lane has accounts of its own, so that an account's events are sent one request after the other. */
async function sendAll(events: readonly WorkloadEvent[], how: { lanes: number; together: number }): Promise<void> {
  const lanes = Map.groupBy(events, ({ accountId }) => Number(accountId.replace(/\D/g, "")) % how.lanes);
  const send = async (own: readonly WorkloadEvent[]) => {
    for (const part of partsOf(own, how.together)) {
      const values = part.map(({ accountId, n }) => ({ accountId, data: { n } }));
      await post(`${url}/v1/events`, values.length === 1 ? values[0] : values);
    }
  };
  await Promise.all(lanes.values().map(send));
}

const worker =
  (unsettledMax: number): Peer["work"] =>
  async ({ databaseUrl }, _share, onEvent) => {
    const inturn = createInturn({
      databaseUrl,
      unsettledMax,
      handler: ({ accountId, data }) => onEvent(accountId, (data as { n: number }).n),
    });
    await inturn.startWorker();
    return async () => await inturn.stop();
  };

const inturn = { package: "inturn", events: 100_000, work: worker(1) };

export const inturnPeers: readonly Peer[] = [
  {
    ...inturn,
    name: "Inturn",
    what: "a backlog, strict",
    isEndToEnd: false,
    start: migrate,
    send: append,
  },
  {
    ...inturn,
    name: "Inturn ahead",
    what: "a backlog, unsettledMax 64",
    isEndToEnd: false,
    start: migrate,
    send: append,
    work: worker(64),
  },
  {
    ...inturn,
    name: "Inturn arrays",
    what: "HTTP, arrays of 500, 4 at a time; end to end",
    isEndToEnd: true,
    start: startApi,
    send: async (_surroundings, events) => await sendAll(events, { lanes: 4, together: 500 }),
  },
  {
    ...inturn,
    name: "Inturn single",
    what: "HTTP, one event a request, 64 at a time; end to end",
    events: 30_000,
    isEndToEnd: true,
    start: startApi,
    send: async (_surroundings, events) => await sendAll(events, { lanes: 64, together: 1 }),
  },
];
