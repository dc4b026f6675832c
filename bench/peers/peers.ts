import { bullmq } from "./bullmq.ts";
import { inturnPeers } from "./inturn.ts";
import type { Peer } from "./peer.ts";
import { pgBossFetch, pgBossWork } from "./pg-boss.ts";
import { queueName } from "./queue-name.ts";
import { restateServer } from "./restate.ts";

/** All that is measured, in the order of the table. */
export const PEERS: readonly Peer[] = [...inturnPeers, bullmq, pgBossWork, pgBossFetch, queueName, restateServer];
