import type { Scenario } from "../scenario.ts";
import { immediateStop, lostCommit, terminateBackends } from "./database.ts";
import { linkDown } from "./network.ts";
import { killWorkers, stopAndContinue } from "./processes.ts";

/** Every fault, in the order of the list. */
export const SCENARIOS: readonly Scenario[] = [
  killWorkers,
  stopAndContinue,
  terminateBackends,
  lostCommit,
  immediateStop,
  linkDown,
].toSorted((a, b) => a.fault - b.fault);
