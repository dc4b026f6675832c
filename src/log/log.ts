/**
 * The log: one JSON line per thing that matters, on standard error, so that standard output stays data.
 * Event data and secrets are never logged.
 */
import { type DestinationStream, type Logger, pino } from "pino";

/** Where the program says what happened. */
export type Log = Logger;

/**
 * @param options.level the least level that is written
 * @param options.name the process's part: `serve`, `work`, …
 * @param options.destination where lines go; standard error unless told
 */
export function createLog(options: { level: string; name: string; destination?: DestinationStream }): Log {
  const destination = options.destination ?? createDestination();
  return pino(
    { name: options.name, level: options.level, base: { name: options.name, pid: process.pid } },
    destination,
  );
}

/** What waits to be written when nobody reads; beyond it lines are dropped, for a log must not stop the work. */
const WAITING_BYTES_MAX = 4 * 1024 * 1024;

/** Written in the background, and to the end when the process exits. A reader that went away is no reason to fail. */
function createDestination(): DestinationStream {
  const destination = pino.destination({ fd: 2, sync: false, maxLength: WAITING_BYTES_MAX });
  destination.on("error", () => undefined);
  return destination;
}
