/**
 * A failover to a standby that did not have everything: what was acknowledged last is gone, and its seqs are given again. `verify` sees
 * it where senders number their events. What a synchronous standby promises is in the fault suite.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LOAD_EVENT_TYPE } from "../src/demo/load.ts";
import { FaultServer } from "./faults/server.ts";
import { runProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

/** Appends events of one account with these numbers, and returns their seqs. */
async function append(server: FaultServer, numbers: readonly number[]): Promise<number[]> {
  const rows = await server.query<{ seq: number }>(
    "select seq::integer from inturn.append_events($1::text[], $2::json[], $3::text[])",
    [numbers.map(() => "a"), numbers.map((n) => JSON.stringify({ run: "1", n })), numbers.map(() => LOAD_EVENT_TYPE)],
    "app",
  );
  return rows.map(({ seq }) => seq);
}

test("an asynchronous standby that lags: the last events are lost, their seqs come again, and verify says so", async () => {
  const primary = await FaultServer.create();
  const servers = [primary];
  try {
    await primary.createDatabase("app");
    const standby = await primary.createStandby({ isSynchronous: false });
    servers.push(standby);
    assert.deepEqual(await append(primary, [1, 2, 3]), [1, 2, 3]);
    const count = async () =>
      (await standby.query<{ events: number }>("select count(*)::integer as events from inturn.events", [], "app"))[0]
        ?.events;
    await until("the standby has them", async () => (await count()) === 3);

    await standby.stopFollowing();
    assert.deepEqual(await append(primary, [4, 5]), [4, 5]);
    await primary.kill();
    await standby.promote();
    assert.deepEqual(await append(standby, [6, 7]), [4, 5]);

    const verified = await runProcess(["verify", "--json"], { DATABASE_URL: standby.url("app") });
    const { lost, duplicates, orderViolations } = JSON.parse(verified.stdout);
    assert.deepEqual({ lost, duplicates, orderViolations }, { lost: 2, duplicates: 0, orderViolations: 0 });
    assert.equal(verified.code, 1);
  } finally {
    for (const server of servers) await server.remove();
  }
});
