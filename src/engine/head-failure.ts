/**
 * What becomes of an account whose head failed, or may not start.
 */
import type { HeadFailure } from "../db/give-back.ts";
import type { Verdict } from "../domain/failure.ts";
import type { Away } from "./head-target.ts";

/** What a verdict means for the account; undefined for a dead letter, which is a settle. */
export function headFailureOf(
  verdict: Verdict,
  failed: { message: string; target: string | null; startedUs: number | null },
): HeadFailure | undefined {
  const { message, target, startedUs } = failed;
  const failure = { message, target, isOfEvent: true, attempt: { startedUs, next: verdict.next } };
  switch (verdict.next) {
    case "retry":
      return { ...failure, state: "retrying", waitMs: verdict.inMs };
    case "snooze":
      return { ...failure, state: "retrying", waitMs: verdict.inMs, snoozes: true };
    case "block":
      return { ...failure, state: "blocked", waitMs: null };
    case "park":
      return { ...failure, state: "blocked", waitMs: verdict.forMs };
    case "dead-letter":
      return undefined;
  }
}

/** The account waits for a target in front of its head, which was not started. */
export function waitingFor(target: string): HeadFailure {
  const message = `it waits for its target ${target}, which is away`;
  return { message, target, state: "waiting", waitMs: null, isOfEvent: false };
}

/** The account waits for a target that was away when its head was tried. */
export function waitingAfter(away: Away, message: string, startedUs: number | null): HeadFailure {
  const attempt = { startedUs, next: "wait" } as const;
  return { ...away, message, state: "waiting", waitMs: null, isOfEvent: true, attempt };
}
