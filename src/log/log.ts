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
  // Synchronous: the last line before an exit is the one that is needed.
  const destination = options.destination ?? pino.destination({ fd: 2, sync: true });
  return pino(
    { name: options.name, level: options.level, base: { name: options.name, pid: process.pid } },
    destination,
  );
}
