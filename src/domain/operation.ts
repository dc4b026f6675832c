import type { ShownState } from "./account.ts";

/** The verbs that can be carried out on many accounts at once. */
export const BULK_VERBS = ["pause", "resume", "retry", "skip", "redrive", "replay"] as const;

/** One of {@link BULK_VERBS}. */
export type BulkVerb = (typeof BULK_VERBS)[number];

/** Which accounts an operation is for: those that fit everything that is said. Of `redrive`: which dead letters. Of `replay`: from which event on. */
export interface OperationFilter {
  readonly states?: readonly ShownState[] | undefined;
  /** What the ids begin with. */
  readonly prefix?: string | undefined;
  /** The type of the head, or of the dead letter; with `*` at its end, what it begins with. */
  readonly type?: string | undefined;
  /** A part of the error's text, in capitals or not. */
  readonly error?: string | undefined;
  /** Only those that have been in their state since before this time; of `redrive`, that were set aside before. With its zone. */
  readonly blockedBefore?: string | undefined;
  /** Of `replay`: from the first event on that was settled at this time or later; with `type`, the first one of that type. With its zone. */
  readonly settledSince?: string | undefined;
  /** Not more than these, in the order of their ids. */
  readonly limit?: number | undefined;
}

/** The most accounts of one operation. */
export const OPERATION_ACCOUNTS_MAX = 1_000_000;

/** The most accounts a second that a rate may say. */
export const OPERATION_RATE_MAX = 10_000;
