/**
 * What becomes of an account whose head failed, or may not start.
 */
import type { HeadFailure } from "../db/give-back.ts";
import type { Verdict } from "../domain/failure.ts";

/** What a verdict means for the account; undefined for a dead letter, which is a settle. */
export function headFailureOf(verdict: Verdict, message: string, target: string | null): HeadFailure | undefined {
  const failure = { message, target, isOfEvent: true };
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

/** The account waits for a target; its head loses no attempt. */
export function waitingFor(target: string, message: string | null): HeadFailure {
  const said = message ?? `it waits for its target ${target}, which is away`;
  return { message: said, target, state: "waiting", waitMs: null, isOfEvent: message !== null };
}
