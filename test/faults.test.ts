/**
 * A selection of the fault suite, with one seed: the whole of it is `npm run test:faults`.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { SCENARIOS } from "./faults/scenarios/index.ts";
import { runSuite } from "./faults/suite.ts";
import { killLeftovers } from "./support/process.ts";

const SELECTION = ["sigstop-rush", "kill-transactions", "immediate-stop", "lost-commit", "misused-clients"];

const AHEAD = ["sigstop-rush", "kill-worker"];

after(killLeftovers);

test(`nothing is lost, doubled or out of order under ${SELECTION.join(", ")}`, async () => {
  await makeAll(SELECTION, 1);
});

test(`nor where turns go ahead of their settles, under ${AHEAD.join(", ")}`, async () => {
  await makeAll(AHEAD, 8);
});

async function makeAll(names: readonly string[], unsettledMax: number): Promise<void> {
  const scenarios = SCENARIOS.filter(({ name }) => names.includes(name));
  const trials = await runSuite({ scenarios, seeds: [1], parallel: 2, unsettledMax });
  assert.deepEqual(trials.map(({ scenario }) => scenario.name).toSorted(), names.toSorted());
  assert.deepEqual(
    trials.flatMap(({ scenario, problems }) => problems.map((problem) => `${scenario.name}: ${problem}`)),
    [],
  );
}
