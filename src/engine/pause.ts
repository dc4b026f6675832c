/**
 * Beginning a pause of more than one account: the answer waits until no worker can start an event of it.
 */
import { setTimeout as sleep } from "node:timers/promises";
import {
  countInHand,
  insertPause,
  listUnconfirmed,
  type NewPause,
  readClock,
  type UnconfirmedWorker,
} from "../db/pauses.ts";
import type { Database } from "../db/pool.ts";

/** The answer waits this long for the workers, and for the events in hand. */
const PAUSED_MS_MAX = 10_000;

/** Between two looks. */
const LOOK_MS = 50;

/** A pause that has begun. */
export interface BegunPause {
  readonly id: number;
  /** Workers that may still start an event of it: they have not said within ten seconds that they know of it. */
  readonly unconfirmed: readonly UnconfirmedWorker[];
  /** How many of its events were started before, and have not ended within ten seconds. */
  readonly inHand: number;
}

/**
 * Begins a pause. After the answer no event that it covers starts, on no worker but those that the answer names.
 *
 * @throws InturnError `operation_invalid`; then nothing was changed
 */
export async function beginPause(database: Database, pause: NewPause): Promise<BegunPause> {
  const endMs = performance.now() + PAUSED_MS_MAX;
  const { id, version } = await insertPause(database, pause);
  const unconfirmed = await whileAny(
    endMs,
    () => listUnconfirmed(database, version),
    (workers) => workers.length > 0,
  );
  const confirmedUs = await readClock(database);
  const inHand = await whileAny(
    endMs,
    () => countInHand(database, id, confirmedUs),
    (events) => events > 0,
  );
  return { id, unconfirmed, inHand };
}

/** Looks again and again while there is any, until the time is over; the last look counts. */
async function whileAny<Found>(
  endMs: number,
  look: () => Promise<Found>,
  isAny: (found: Found) => boolean,
): Promise<Found> {
  for (;;) {
    const found = await look();
    if (!isAny(found) || performance.now() > endMs) return found;
    await sleep(LOOK_MS);
  }
}
