/**
 * Targets as workers see them: their circuit breakers are in the database (`sql/targets/`), shared by all workers.
 */
import type { TargetRule, TargetState } from "../domain/target.ts";
import type { Database } from "./pool.ts";

/** A target that is not closed, or whose attempts fail. */
export interface TendedTarget {
  readonly target: string;
  readonly state: TargetState;
  /** Whether every worker reports how its attempts went. */
  readonly suspected: boolean;
}

/** Does what the time has come for: probes, wake-ups; and answers which targets are not closed, or suspected. */
export async function tendTargets(database: Database): Promise<TendedTarget[]> {
  const text = "select t.target, t.state, t.suspected from inturn.tend_targets() as t";
  return (await database.query<TendedTarget>({ name: "inturn_tend_targets", text })).rows;
}

/** Whether an event may start: it may, it may as the one event by which the target is tried, or its account has to wait. */
export type Entry = "go" | "probe" | "wait";

/** Asks whether an event of this account may start, although its target is not closed. */
export async function enterTarget(database: Database, target: string, accountId: string): Promise<Entry> {
  const text = "select inturn.enter_target($1, $2) as entry";
  const { rows } = await database.query<{ entry: Entry }>({
    name: "inturn_enter_target",
    text,
    values: [target, accountId],
  });
  return rows[0]?.entry ?? "go";
}

/** Opens a target on a handler's word. Whether it is away now: there are no more than a thousand. */
export async function tripTarget(
  database: Database,
  away: { target: string; reason: string; retryAfterMs: number | null },
): Promise<boolean> {
  const values = [away.target, away.reason, away.retryAfterMs];
  const { rows } = await database.query<{ isAway: boolean }>(
    'select inturn.trip_target($1, $2, $3) as "isAway"',
    values,
  );
  return rows[0]?.isAway ?? false;
}

/** How a probe ended. */
export interface ProbeEnd {
  readonly target: string;
  readonly accountId: string;
  readonly succeeded: boolean;
  readonly reason: string | null;
  readonly retryAfterMs: number | null;
}

/** Says how a probe went. A second time, or after somebody else has decided, it changes nothing. */
export async function endProbe(database: Database, end: ProbeEnd): Promise<void> {
  const values = [end.target, end.accountId, end.succeeded, end.reason, end.retryAfterMs];
  await database.query("select inturn.end_probe($1, $2, $3, $4, $5)", values);
}

/** How one worker's attempts of a target went within the window. */
export interface AttemptsReport {
  readonly target: string;
  readonly attempts: number;
  readonly failed: number;
  /** Not more than the rule asks for. */
  readonly failedAccounts: readonly string[];
  readonly lastError: string;
  readonly rule: TargetRule;
}

/** Tells the others how the attempts of a target go here, and opens it when those of all show an outage. */
export async function reportAttempts(database: Database, workerId: string, report: AttemptsReport): Promise<void> {
  const { target, attempts, failed, failedAccounts, lastError, rule } = report;
  await database.query("select inturn.report_attempts($1, $2, $3, $4, $5, $6, $7, $8, $9)", [
    target,
    workerId,
    attempts,
    failed,
    failedAccounts,
    rule.attemptsMin,
    rule.accountsMin,
    rule.failedShare,
    lastError,
  ]);
}
