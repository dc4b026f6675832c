/**
 * Targets as people see them, and what an operator may do with them.
 */
import type { TargetState, TargetVerb } from "../domain/target.ts";
import { callOperator } from "./operate.ts";
import type { Database, Queryable } from "./pool.ts";

/** A target that is away, or that accounts still wait for. Times are PostgreSQL's text, in the session's zone. */
export interface TargetStatus {
  readonly target: string;
  readonly state: TargetState;
  /** Null when it is back, and accounts are still being woken. */
  readonly awaySince: string | null;
  readonly awaySeconds: number | null;
  readonly reason: string | null;
  /** When it is tried again; null while it is being tried, is back, or was opened by a person without an end. */
  readonly nextProbeAt: string | null;
  readonly nextProbeSeconds: number | null;
  readonly failedProbes: number;
  /** The account whose head is the probe. */
  readonly probeAccount: string | null;
  /** Whether a person opened it. */
  readonly byHand: boolean;
  readonly waitingAccounts: number;
  readonly waitingEvents: number;
}

/** The targets that are away or still waited for, by name, at most `limit`. */
export async function listTargetStatus(database: Queryable, limit: number): Promise<TargetStatus[]> {
  const { rows } = await database.query<TargetStatus>(
    `select t.target, t.state, t.away_since::text as "awaySince",
       extract(epoch from clock_timestamp() - t.away_since)::double precision as "awaySeconds", t.reason,
       t.next_probe_at::text as "nextProbeAt",
       extract(epoch from t.next_probe_at - clock_timestamp())::double precision as "nextProbeSeconds",
       t.failed_probes as "failedProbes", t.probe_account as "probeAccount", t.by_hand as "byHand",
       t.waiting_accounts as "waitingAccounts", t.waiting_events as "waitingEvents"
     from inturn.target_status as t order by t.target limit $1`,
    [limit],
  );
  return rows;
}

/** A verb of an operator, and the target it is meant for. */
export interface TargetOperation {
  readonly verb: TargetVerb;
  readonly target: string;
  readonly who: string;
  readonly why?: string | undefined;
  /** `open`: when it is tried again; a time with its zone. Without it a person has to close it. */
  readonly until?: string | undefined;
}

/** What became of the target, and how many accounts wait for it. */
export interface TargetOperated {
  readonly state: TargetState;
  readonly accounts: number;
}

/**
 * Opens or closes a target by hand, and records it.
 *
 * @throws InturnError `target_not_open`, `operation_invalid`; then nothing was changed
 */
export async function operateTarget(database: Database, operation: TargetOperation): Promise<TargetOperated> {
  const { verb, target, who, why = null, until = null } = operation;
  const text =
    verb === "open"
      ? "select state, accounts from inturn.open_target($1, $2, $3, $4::timestamptz)"
      : "select state, accounts from inturn.close_target($1, $2, $3)";
  const values = [target, why, who, ...(verb === "open" ? [until] : [])];
  const operated = await callOperator<TargetOperated>(database, text, values);
  return operated ?? { state: "closed", accounts: 0 };
}
