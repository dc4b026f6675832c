/**
 * The log: one line per thing that matters, on standard error, so that standard output stays data. JSON for programs, a line for
 * people on a terminal. Event data and secrets are never logged.
 */
import { createRequire } from "node:module";
import { type DestinationStream, type Logger, pino } from "pino";
import type { PrettyOptions, PrettyStream } from "pino-pretty";

/** Where the program says what happened. */
export type Log = Logger;

/** What a log is made of. */
export interface LogOptions {
  /** The least level that is written. */
  readonly level: string;
  /** The process's part: `serve`, `work`, … */
  readonly name: string;
  /** Where JSON lines go; standard error unless told, in plain words if that is a terminal. */
  readonly destination?: DestinationStream;
}

/** What PostgreSQL says about an error may quote the data that it was given. */
const QUOTES = ["detail", "where", "query", "params", "parameters", "internalQuery"].map((field) => `err.${field}`);

/** Creates a log. */
export function createLog(options: LogOptions): Log {
  const { level, name } = options;
  const destination = options.destination ?? (process.stderr.isTTY === true ? createTerminal() : createDestination());
  const redact = { paths: [...QUOTES, ...QUOTES.map((path) => path.replace("err.", "err.cause."))], remove: true };
  return pino({ name, level, base: { name, pid: process.pid }, redact }, destination);
}

/** What waits to be written when nobody reads; beyond it lines are dropped, for a log must not stop the work. */
const WAITING_BYTES_MAX = 4 * 1024 * 1024;

/** Written in the background, and to the end when the process exits. A reader that went away is no reason to fail. */
function createDestination(): DestinationStream {
  const destination = pino.destination({ fd: 2, sync: false, maxLength: WAITING_BYTES_MAX });
  destination.on("error", () => undefined);
  return destination;
}

/** Lines for people: the time, the level, the part and what happened; colours where the terminal has them. */
export const PRETTY: PrettyOptions = {
  translateTime: "SYS:HH:MM:ss.l",
  ignore: "pid,hostname,name",
  messageFormat: "{name}: {msg}",
  singleLine: true,
};

/** Loaded where it is needed only: it takes 30 ms. */
function createTerminal(): DestinationStream {
  const { default: pretty } = createRequire(import.meta.url)("pino-pretty") as {
    default: (options: PrettyOptions) => PrettyStream;
  };
  return pretty({ ...PRETTY, destination: 2, sync: true, colorize: process.stderr.hasColors?.() ?? false });
}
