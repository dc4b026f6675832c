/**
 * The second half of `npm run bench:locks`: how many settles a drain takes while somebody locks accounts.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { readSettings } from "../src/config/settings.ts";
import { createWorkload } from "../src/domain/workload.ts";
import { startFleet } from "../src/service/fleet.ts";
import type { Random } from "../test/faults/random.ts";
import { appendBacklog, median, print, type Scratch, untilSettled } from "./support.ts";

const DRAIN = { accounts: 1_000, locked: 200, lockedMs: 450, beforeMs: 150, metricsPort: 19_470 };

interface Drains {
  scratch: Scratch;
  random: Random;
  rounds: number;
  /** Of each drain. */
  events: number;
  seed: number;
}

/** Drains without a lock, with one, and with one after the other, in turns. */
export async function measureDrains(drains: Drains): Promise<void> {
  print(
    `\n${drains.events} events of ${DRAIN.accounts} accounts; ${DRAIN.locked} of them locked for ${DRAIN.lockedMs} ms`,
  );
  const statements = { never: [] as number[], once: [] as number[], again: [] as number[] };
  for (let round = 0; round < drains.rounds; round++) {
    for (const [how, locksMax] of [
      ["never", 0],
      ["once", 1],
      ["again", Number.POSITIVE_INFINITY],
    ] as const) {
      const { settles, events, seconds, locks } = await measureDrain(drains, locksMax);
      statements[how].push(settles / events);
      const rates = `${(settles / events).toFixed(5)} settles per event, ${Math.round(events / seconds)} events/s`;
      print(`  locked ${how.padEnd(5)}  ${rates}, ${locks} locks`);
    }
  }
  const never = median(statements.never);
  const ratioOf = (how: "once" | "again") => (median(statements[how]) / never).toFixed(2);
  print(
    `  settles per event: ${ratioOf("once")} with one lock, ${ratioOf("again")} with one after the other, of those without`,
  );
}

async function measureDrain(drains: Drains, locksMax: number) {
  const { scratch, events, seed } = drains;
  await scratch.recreate();
  const client = await scratch.connect();
  const workload = createWorkload({ events, accounts: DRAIN.accounts, seed });
  await appendBacklog(client, workload.events);
  const { metricsPort } = DRAIN;
  const settings = {
    ...readSettings({}, { logLevel: "warn", handler: "sleep", handlerMs: 0, port: 0, metricsPort }),
    databaseUrl: scratch.url,
  };
  const startedMs = performance.now();
  const fleet = await startFleet({ settings, databaseUrl: scratch.url, workers: 2, say: print });
  const stop = new AbortController();
  const locking = lockSome(drains, workload.events, locksMax, stop.signal);
  try {
    await untilSettled(client, events);
    const seconds = (performance.now() - startedMs) / 1_000;
    const settles = (await countSettles(metricsPort)) + (await countSettles(metricsPort + 1));
    stop.abort();
    return { settles, events, seconds, locks: await locking };
  } finally {
    stop.abort();
    await fleet.stop();
    await client.end();
  }
}

async function lockSome(
  { scratch, random }: Drains,
  events: readonly { accountId: string }[],
  locksMax: number,
  signal: AbortSignal,
): Promise<number> {
  const accounts = [...new Set(events.map(({ accountId }) => accountId))].toSorted();
  const client = await scratch.connect();
  let locks = 0;
  for (; !signal.aborted && locks < locksMax; locks++) {
    await sleep(DRAIN.beforeMs);
    const first = random.int(0, accounts.length - DRAIN.locked);
    await client.query("begin");
    const some = accounts.slice(first, first + DRAIN.locked);
    await client.query("select from inturn.accounts where id = any($1) order by id for update", [some]);
    await sleep(DRAIN.lockedMs);
    await client.query("commit");
  }
  await client.end();
  return locks;
}

async function countSettles(port: number): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  return Number(/^inturn_settle_batch_events_count (\d+)$/m.exec(text)?.[1]);
}
