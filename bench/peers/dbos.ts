/** DBOS: a workflow for each event, on one queue that is partitioned by account. */
import { DBOS, DBOSClient } from "@dbos-inc/dbos-sdk";
import { nothing, type Peer, partsOf } from "./peer.ts";

const [NAME, QUEUE, WORKFLOW, VERSION] = ["peers", "events", "handle", "1"];

/** As many as its client has connections, twice over. */
const SEND_AT_ONCE = 20;

const silent = { info: () => undefined, debug: () => undefined, warn: () => undefined, error: () => undefined };

export const dbos: Peer = {
  name: "DBOS",
  package: "@dbos-inc/dbos-sdk",
  what: "a queue partitioned by account, one workflow at a time in each; looks every 100 ms",
  events: 5_000,
  isEndToEnd: false,
  start: nothing,
  async send({ databaseUrl: systemDatabaseUrl }, events) {
    await DBOS.migrate(systemDatabaseUrl);
    const client = await DBOSClient.create({ systemDatabaseUrl, logger: silent, applicationName: NAME });
    await client.registerQueue(QUEUE, { partitionConcurrency: 1, minPollingIntervalMs: 100 });
    for (const part of partsOf(events, SEND_AT_ONCE)) {
      // Workflows of one millisecond have the same time: their priority says which came first.
      const options = { queueName: QUEUE, workflowName: WORKFLOW, appVersion: VERSION };
      const enqueue = ({ accountId, n }: (typeof events)[number]) =>
        client.enqueue({ ...options, queuePartitionKey: accountId, priority: n }, accountId, n);
      await Promise.all(part.map(enqueue));
    }
    await client.destroy();
  },
  async work({ databaseUrl: systemDatabaseUrl }, share, onEvent) {
    DBOS.setConfig({
      name: NAME,
      systemDatabaseUrl,
      logger: silent,
      applicationVersion: VERSION,
      executorID: `worker-${share}`,
      listenQueues: [QUEUE],
    });
    DBOS.registerWorkflow(async (accountId: string, n: number) => onEvent(accountId, n), { name: WORKFLOW });
    await DBOS.launch();
    return async () => await DBOS.shutdown();
  },
};
