/**
 * Ends a process whose event loop is stuck: a handler that computes without end, or waits synchronously. Nobody can call it
 * back, its accounts have gone to others, and the next worker would be stuck with them as well. Killed, its attempt counts
 * like any other, and its supervisor starts another process.
 */
import { extname, join } from "node:path";
import { Worker as Thread } from "node:worker_threads";
import { LEASE_TIMES } from "../domain/lease-times.ts";

/** Between two beats of the event loop. */
const BEAT_MS = 100;

/** What the watching thread is given. */
export interface WatchdogData {
  /** Counts the beats. */
  readonly beats: Int32Array<SharedArrayBuffer>;
  readonly stuckMsMax: number;
}

/** Watches this process's event loop from a thread of its own. Returns how to stop watching. */
export function startWatchdog(leaseMs: number): () => Promise<void> {
  const data: WatchdogData = {
    beats: new Int32Array(new SharedArrayBuffer(4)),
    stuckMsMax: LEASE_TIMES.stuckLeases * leaseMs,
  };
  const beating = setInterval(() => Atomics.add(data.beats, 0, 1), BEAT_MS);
  beating.unref();
  const thread = new Thread(join(import.meta.dirname, `watchdog-thread${extname(import.meta.filename)}`), {
    workerData: data,
    execArgv: [],
  });
  thread.unref();
  return async () => {
    clearInterval(beating);
    await thread.terminate();
  };
}
