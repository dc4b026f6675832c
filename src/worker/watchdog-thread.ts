/**
 * The thread that watches the event loop (see watchdog.ts). It counts its own looks, not a clock: a process that was
 * stopped as a whole and goes on has not been stuck.
 */
import { writeSync } from "node:fs";
import { workerData } from "node:worker_threads";
import type { WatchdogData } from "./watchdog.ts";

/** Between two looks. */
const LOOK_MS = 250;

const { beats, stuckMsMax } = workerData as WatchdogData;

function watch(lastBeats: number, looks: number): void {
  const now = Atomics.load(beats, 0);
  const stuckLooks = now === lastBeats ? looks + 1 : 0;
  if (stuckLooks * LOOK_MS >= stuckMsMax) end();
  setTimeout(watch, LOOK_MS, now, stuckLooks);
}

function end(): void {
  const msg = `the event loop has been stuck for ${stuckMsMax} ms: a handler computes without end; the process ends itself`;
  writeSync(2, `${JSON.stringify({ level: 60, time: Date.now(), name: "work", pid: process.pid, msg })}\n`);
  process.kill(process.pid, "SIGKILL");
}

watch(0, 0);
