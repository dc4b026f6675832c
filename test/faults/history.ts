/**
 * A run as plain data: what the clients were told, what the handlers did, what the views say, and what the suite did to
 * them. All times are CLOCK_MONOTONIC in ms.
 */

/** One event, as its sender knows it. */
export interface SentEvent {
  readonly account: string;
  /** Its number among the events of its account: 1, 2, 3, … */
  readonly n: number;
  readonly id: string;
  /** `unknown`: no answer said what became of it. */
  readonly outcome: "acknowledged" | "refused" | "unknown";
  /** Every seq that an answer gave it; two different ones contradict each other. */
  readonly seqs: readonly number[];
  /** When it was acknowledged or refused; otherwise when it was last tried. */
  readonly answeredMs: number;
}

/** One call of the handler, as the witness wrote it down. */
export interface HandlerCall {
  readonly account: string;
  readonly seq: number;
  readonly n: number;
  readonly epoch: number;
  readonly attempt: number;
  readonly pid: number;
  readonly startMs: number;
  /** Undefined when nothing was written after the start. */
  readonly endMs: number | undefined;
  /** Whether it came to its end; false when it failed. */
  readonly succeeded: boolean;
}

/** One event, as the views show it. */
export interface StoredEvent {
  readonly account: string;
  readonly seq: number;
  readonly id: string | null;
  readonly n: number;
  readonly state: string;
  readonly processedMs: number | undefined;
}

/** One account, as the views show it. */
interface StoredAccount {
  readonly account: string;
  readonly state: string;
  readonly pending: number;
}

/** A process was stopped, blocked or cut off: it could not know what went on meanwhile. */
export interface Absence {
  readonly pid: number;
  readonly fromMs: number;
  readonly toMs: number;
}

/** A process ended. */
export interface Death {
  readonly pid: number;
  readonly atMs: number;
}

/** A process was taken away: its accounts must be in other hands within the bound. */
export interface Takeover {
  readonly pid: number;
  readonly atMs: number;
  readonly withinMs: number;
}

/** The service was away until this moment: from then on an event must be accepted, and one handled, within the bound. */
export interface Recovery {
  readonly healedMs: number;
  readonly withinMs: number;
}

/** Everything the checker judges. */
export interface History {
  readonly sent: readonly SentEvent[];
  readonly calls: readonly HandlerCall[];
  readonly events: readonly StoredEvent[];
  readonly accounts: readonly StoredAccount[];
  /** Rows of `inturn.order_violations`. */
  readonly violations: readonly { account: string; seq: number; kind: string; detail: string }[];
  readonly absences: readonly Absence[];
  readonly deaths: readonly Death[];
  readonly takeovers: readonly Takeover[];
  readonly recoveries: readonly Recovery[];
  /** An account with events waiting may have nobody handling it for this long, except these. */
  readonly idleMsMax: number | undefined;
  readonly idleExempt: readonly string[];
  /** Accounts that are to be blocked in the end, and only they. */
  readonly blocked: readonly string[];
  /** Transactions of handlers: how often each account's counter was raised; undefined when nothing counted. */
  readonly counters: Readonly<Record<string, number>> | undefined;
  /** As the workers' setting: so many events that were handled may come again under a later lease. */
  readonly unsettledMax: number;
}

/** A run in which nothing happened. */
export const NO_HISTORY: History = {
  sent: [],
  calls: [],
  events: [],
  accounts: [],
  violations: [],
  absences: [],
  deaths: [],
  takeovers: [],
  recoveries: [],
  idleMsMax: undefined,
  idleExempt: [],
  blocked: [],
  counters: undefined,
  unsettledMax: 1,
};
