/**
 * What follows when an event's handler fails: another attempt, or what the rule says for an event that is given up.
 */
import type { RetryWish } from "../errors/retry.ts";
import { backoffMs } from "./backoff.ts";

/**
 * What to do with an event whose attempts are used up. `block`: its account waits for a person. `dead-letter`: it is set
 * aside and its account goes on; order is kept among the rest. `park`: block for a time, then dead-letter.
 */
export const FAILURE_POLICIES = ["block", "dead-letter", "park"] as const;

/** How the events of one type are handled and retried. */
export interface RetryRule {
  /** An event is given up when this many attempts have failed. */
  readonly attemptsMax: number;
  /** The wait before the second attempt; it doubles. */
  readonly backoffMs: number;
  /** The longest wait between two attempts. */
  readonly backoffMsMax: number;
  /** A handler that takes longer is told to stop, and its attempt has failed. */
  readonly handlerTimeoutMs: number;
  readonly failurePolicy: (typeof FAILURE_POLICIES)[number];
  /** How long `park` blocks. */
  readonly parkMs: number;
  /** An event may be put off without an attempt for this long in all. */
  readonly snoozeMsMax: number;
  /**
   * An event may start while fewer than this many of those before it are handled and not settled yet. 1: after the settle of the one
   * before. More: after a crash as many are handed out again.
   */
  readonly unsettledMax: number;
  /** The outside system that the handler needs for these events. */
  readonly target: string;
  /** The URL that these events are pushed to, where they are. */
  readonly push?: string;
}

/** The least and the most that each number of a rule may be. */
export const RETRY_RULE_LIMITS = {
  attemptsMax: [1, 1_000_000],
  backoffMs: [1, 86_400_000],
  backoffMsMax: [1, 86_400_000],
  handlerTimeoutMs: [1, 86_400_000],
  parkMs: [1, 2_592_000_000],
  snoozeMsMax: [1, 2_592_000_000],
  unsettledMax: [1, 1_000],
} as const;

/** What follows a failure. */
export type Verdict =
  | { readonly next: "retry"; readonly inMs: number }
  /** The same, and it was no attempt. */
  | { readonly next: "snooze"; readonly inMs: number }
  | { readonly next: "block" }
  | { readonly next: "park"; readonly forMs: number }
  | { readonly next: "dead-letter" };

/**
 * Decides what follows a failure.
 *
 * @param failure.attempt the attempt that failed, counted from 1 since the event came in or a person said `retry`
 * @param failure.snoozedMs for how long the event has been put off without an attempt
 * @param failure.random a number in [0, 1)
 */
export function judgeFailure(failure: {
  rule: RetryRule;
  attempt: number;
  wish?: RetryWish;
  snoozedMs?: number;
  random: number;
}): Verdict {
  const { rule, attempt, wish, snoozedMs = 0, random } = failure;
  const isPutOff = wish !== undefined && "inMs" in wish && !wish.countsAttempt;
  if (isPutOff && snoozedMs + wish.inMs <= rule.snoozeMsMax) return { next: "snooze", inMs: wish.inMs };
  if (attempt >= rule.attemptsMax || (wish !== undefined && "never" in wish)) return giveUp(rule);
  if (wish !== undefined && "inMs" in wish) return { next: "retry", inMs: wish.inMs };
  return { next: "retry", inMs: backoffMs({ attempt, firstMs: rule.backoffMs, mostMs: rule.backoffMsMax, random }) };
}

/**
 * Whether the attempts of an event were used up by workers that died, before this attempt.
 *
 * Of the first attempt alone nobody knows whether its handler was called: a worker may die between the claim and the call.
 * From the second attempt on a call is recorded before it is made, and one without a record is not counted. So an event is
 * given up only if its handler was called at least once.
 *
 * @param head.attempt the attempt that would begin now
 * @param head.forgiven how many of the attempts before it no longer count
 */
export function areAttemptsUsedUp(head: { rule: RetryRule; attempt: number; forgiven: number }): boolean {
  return head.attempt > 2 && head.attempt - head.forgiven > head.rule.attemptsMax;
}

/** What the rule says for an event that is given up. */
export function giveUp(rule: RetryRule): Verdict {
  return rule.failurePolicy === "park" ? { next: "park", forMs: rule.parkMs } : { next: rule.failurePolicy };
}

/**
 * How the events of each type are retried: as `byType` says, and as `others` says for everything that it does not.
 *
 * @param byType by exact type, or by what types begin with, followed by `*`. The longest one that fits counts, alone
 */
export function createRules(
  others: RetryRule,
  byType: Readonly<Record<string, Partial<RetryRule>>>,
): (type: string | null) => RetryRule {
  const rules = Object.entries(byType).map(([pattern, rule]) => ({ pattern, rule: { ...others, ...rule } }));
  const exact = new Map(rules.map(({ pattern, rule }) => [pattern, rule]));
  const prefixes = rules
    .filter(({ pattern }) => pattern.endsWith("*"))
    .map(({ pattern, rule }) => ({ prefix: pattern.slice(0, -1), rule }))
    .toSorted((a, b) => b.prefix.length - a.prefix.length);
  const find = (type: string) =>
    exact.get(type) ?? prefixes.find(({ prefix }) => type.startsWith(prefix))?.rule ?? others;
  return (type) => (type === null ? others : find(type));
}
