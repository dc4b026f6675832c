import type pg from "pg";
import type { Verb } from "../domain/account.ts";
import type { ErrorCode } from "../errors/codes.ts";
import { codeOf } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import type { Database } from "./pool.ts";

/** A verb of an operator, and the account it is meant for. */
export interface Operation {
  readonly verb: Verb;
  readonly accountId: string;
  /** `redrive`: the dead letter. `replay`: the first event to handle again. */
  readonly seq?: number | undefined;
  /** `redrive`: append a copy if later events were started. */
  readonly force?: boolean | undefined;
  readonly who: string;
  readonly why?: string | undefined;
}

/** What a verb led to. */
export interface Operated {
  /** The account's state, as the views show it. */
  readonly state: string;
  /** The event it was about: the head, the dead letter, or the first event to be handled again. */
  readonly seq: number;
}

const STATEMENTS: Record<Verb, string> = {
  pause: "select state, seq from inturn.pause($1, who => $2, why => $3)",
  resume: "select state, seq from inturn.resume($1, who => $2, why => $3)",
  retry: "select state, seq from inturn.retry($1, who => $2, why => $3)",
  skip: "select state, seq from inturn.skip($1, who => $2, why => $3)",
  redrive: "select state, seq from inturn.redrive($1, $4::bigint, $5::boolean, who => $2, why => $3)",
  replay: "select state, seq from inturn.replay($1, $4::bigint, who => $2, why => $3)",
};

/** What the SQL functions refuse with. */
const REFUSALS: Readonly<Record<string, ErrorCode>> = {
  IT001: "account_not_found",
  IT002: "account_running",
  IT003: "account_idle",
  IT004: "event_not_dead",
  IT005: "event_overtaken",
  IT006: "event_not_settled",
  IT007: "replay_too_large",
  IT008: "target_not_open",
  IT009: "operation_invalid",
  IT010: "operation_too_large",
  IT011: "pause_not_found",
  IT012: "account_covered",
  IT015: "bucket_moving",
};

/**
 * Calls a function for operators; undefined when it answered no row.
 *
 * @throws InturnError one of the codes above when it refused; then nothing was changed
 */
export async function callOperator<Row extends pg.QueryResultRow>(
  database: Database,
  text: string,
  values: unknown[],
): Promise<Row | undefined> {
  try {
    return (await database.query<Row>(text, values)).rows[0];
  } catch (error) {
    const code = REFUSALS[codeOf(error) ?? ""];
    if (code === undefined) throw error;
    const { message, hint } = error as Error & { hint?: string };
    throw new InturnError(code, [`${message}.`, hint].filter(Boolean).join(" "), { cause: error });
  }
}

/**
 * Carries out a verb and records it, in one transaction.
 *
 * @throws InturnError one of the codes above when the account is not as the verb needs it; then nothing was changed
 */
export async function operate(database: Database, operation: Operation): Promise<Operated> {
  const { verb, accountId, who, why = null, seq = null, force = false } = operation;
  const more = { redrive: [seq, force], replay: [seq] }[verb as string] ?? [];
  const operated = await callOperator<Operated>(database, STATEMENTS[verb], [accountId, who, why, ...more]);
  return operated ?? { state: "idle", seq: 0 };
}

/**
 * Removes everything of an account, and says how many events that were.
 *
 * @throws InturnError `account_not_found`, or `account_running` while an event of it is being handled; then nothing was changed
 */
export async function eraseAccount(database: Database, accountId: string): Promise<number> {
  const erased = await callOperator<{ events: number }>(database, "select inturn.erase($1) as events", [accountId]);
  return erased?.events ?? 0;
}

/** One entry of the record of what operators did. */
export interface OperatorLogEntry {
  readonly at: string;
  readonly verb: Verb;
  readonly seq: number | null;
  readonly who: string;
  readonly why: string | null;
}

/** What was done with an account last, newest first. */
export async function listOperations(
  database: Database,
  accountId: string,
  limit: number,
): Promise<OperatorLogEntry[]> {
  const { rows } = await database.query<OperatorLogEntry>(
    `select o.at::text as at, o.verb, o.seq, o.who, o.why from inturn.operator_log as o
     where o.account_id = $1 order by o.id desc limit $2`,
    [accountId, limit],
  );
  return rows;
}
