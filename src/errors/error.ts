import type { ErrorCode } from "./codes.ts";

/** One thing that is wrong with an input: where it stands (a JSON pointer, a flag or a variable) and what is wrong with it. */
export interface Fault {
  readonly where: string;
  readonly message: string;
}

/** Facts that a program can use: the seq of the account after a conflict, the seconds to wait, what became of each event. */
export type ErrorData = Readonly<Record<string, string | number | readonly object[]>>;

/** What goes with the message of an {@link InturnError}. */
export interface ErrorDetails {
  readonly faults?: readonly Fault[];
  readonly data?: ErrorData;
  readonly cause?: unknown;
}

/**
 * An error that a person or a program can act on: the message says what, which and what to do; `code` is stable;
 * `faults` lists every part of the input that is wrong; `data` holds facts about it; `cause` is what led to it.
 */
export class InturnError extends Error {
  readonly code: ErrorCode;
  readonly faults: readonly Fault[];
  readonly data: ErrorData;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "InturnError";
    this.code = code;
    this.faults = details.faults ?? [];
    this.data = details.data ?? {};
  }
}
