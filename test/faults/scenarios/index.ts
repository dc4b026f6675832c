import type { Scenario } from "../scenario.ts";
import { slowAppends } from "./appends.ts";
import { awayCell, killedCell, staleMap } from "./cells.ts";
import {
  absentAtBoot,
  frozenBackend,
  immediateStop,
  lockedAccount,
  lostCommit,
  noConnections,
  restartLoop,
  terminateBackends,
} from "./database.ts";
import { diskFull } from "./disk.ts";
import { failover, switchover } from "./failover.ts";
import { badHandlers, misusedClients, wrongClocks } from "./handlers.ts";
import { deadlyHandlers, killAtPoints, killTransactions, killWorkers, outOfMemory } from "./kills.ts";
import { mixture } from "./mixture.ts";
import { halfOpen, linkDown, slowLinks } from "./network.ts";
import { killedOperation, pausedRestart } from "./operators.ts";
import { pooler } from "./pooler.ts";
import { powerCut } from "./power.ts";
import {
  blockedLoop,
  longHandler,
  manySignals,
  rollingRestart,
  stopAndContinue,
  stopInARush,
  stopTransactions,
} from "./stalls.ts";
import { awayTarget, flappingTarget } from "./targets.ts";
import { twoVersions } from "./versions.ts";
import { deadPool, deafListener, emptiedQueue, herd, wakeUps } from "./wake-ups.ts";

/** Every fault, in the order of the list. */
export const SCENARIOS: readonly Scenario[] = [
  absentAtBoot,
  awayCell,
  awayTarget,
  badHandlers,
  blockedLoop,
  deadlyHandlers,
  deadPool,
  deafListener,
  diskFull,
  emptiedQueue,
  failover,
  flappingTarget,
  frozenBackend,
  halfOpen,
  herd,
  immediateStop,
  killAtPoints,
  killedCell,
  killedOperation,
  killTransactions,
  killWorkers,
  linkDown,
  lockedAccount,
  longHandler,
  lostCommit,
  manySignals,
  misusedClients,
  mixture,
  noConnections,
  outOfMemory,
  pausedRestart,
  pooler,
  powerCut,
  restartLoop,
  rollingRestart,
  slowAppends,
  slowLinks,
  staleMap,
  stopAndContinue,
  stopInARush,
  stopTransactions,
  switchover,
  terminateBackends,
  twoVersions,
  wakeUps,
  wrongClocks,
].toSorted((a, b) => a.fault - b.fault);
