import { bareSql } from "./bare-sql.ts";
import { bullmq } from "./bullmq.ts";
import { dbos } from "./dbos.ts";
import { inMemory } from "./in-memory.ts";
import { inturnPeers } from "./inturn.ts";
import type { Peer } from "./peer.ts";
import { pgBossFetch, pgBossWork } from "./pg-boss.ts";
import { queueName } from "./queue-name.ts";
import { restateServer } from "./restate.ts";

/** All that is measured, in the order of the table: Inturn, what a user would pick instead, and two bounds. */
export const PEERS: readonly Peer[] = [
  ...inturnPeers,
  bullmq,
  pgBossWork,
  pgBossFetch,
  queueName,
  dbos,
  restateServer,
  bareSql,
  inMemory,
];
