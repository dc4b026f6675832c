/**
 * Operations: a verb for many accounts, which a worker carries out little by little (`sql/operations/`).
 */
import type { BulkVerb, OperationFilter } from "../domain/operation.ts";
import { InturnError } from "../errors/error.ts";
import { callOperator } from "./operate.ts";
import type { Database } from "./pool.ts";

/** What is to be done, to which accounts. */
export interface BulkOperation {
  readonly verb: BulkVerb;
  readonly where: OperationFilter;
  readonly who: string;
  readonly why?: string | undefined;
  /** Accounts a second at most; as fast as possible unless told. */
  readonly rate?: number | undefined;
  /** `redrive`: append a copy if later events were started. */
  readonly force?: boolean | undefined;
  /** Only count what matches. */
  readonly dryRun?: boolean | undefined;
}

/** What was begun. */
export interface BegunOperation {
  /** Null of a dry run. */
  readonly id: number | null;
  readonly matched: number;
}

/**
 * Begins an operation on all accounts that match now.
 *
 * @throws InturnError `operation_too_large`, `operation_invalid`; then nothing was begun
 */
export async function beginOperation(database: Database, operation: BulkOperation): Promise<BegunOperation> {
  const { verb, where, who, why = null, rate = null, force = false, dryRun = false } = operation;
  const text =
    "select o.id, o.matched from inturn.operate($1, $2::json, $3, $4, $5::integer, $6::boolean, $7::boolean) as o";
  const values = [verb, JSON.stringify(where), why, who, rate, force, dryRun];
  return (await callOperator<BegunOperation>(database, text, values)) ?? { id: null, matched: 0 };
}

/** How far an operation is. Times are PostgreSQL's text, in the session's zone. */
export interface OperationStatus {
  readonly id: number;
  readonly verb: BulkVerb;
  readonly where: OperationFilter;
  readonly state: "running" | "done" | "cancelled";
  readonly matched: number;
  /** Of those that matched, how many have been looked at. */
  readonly tried: number;
  readonly done: number;
  /** How many were not changed, by the code that says why; null for none. */
  readonly leftOut: Readonly<Record<string, number>> | null;
  readonly rate: number | null;
  readonly who: string;
  readonly why: string | null;
  readonly createdAt: string;
  readonly endedAt: string | null;
}

const STATUS = `
  select o.id, o.verb, o.filter as "where", o.state, o.matched, o.tried, o.done, o.left_out as "leftOut", o.rate, o.who, o.why,
    o.created_at::text as "createdAt", o.ended_at::text as "endedAt"
  from inturn.operation_status as o`;

/** One operation, or undefined when there is none with this id, or it ended more than a month ago. */
export async function findOperation(database: Database, id: number): Promise<OperationStatus | undefined> {
  return (await database.query<OperationStatus>(`${STATUS} where o.id = $1`, [id])).rows[0];
}

/**
 * One operation.
 *
 * @param id as somebody wrote it
 * @throws InturnError `operation_not_found`
 */
export async function requireOperation(database: Database, id: string | number): Promise<OperationStatus> {
  const found = /^[1-9]\d{0,14}$/.test(String(id)) ? await findOperation(database, Number(id)) : undefined;
  if (found !== undefined) return found;
  throw new InturnError("operation_not_found", "There is no such operation, or it ended more than a month ago.");
}

/** The last operations, the newest first. */
export async function listBulkOperations(database: Database, limit: number): Promise<OperationStatus[]> {
  return (await database.query<OperationStatus>(`${STATUS} order by o.id desc limit $1`, [limit])).rows;
}

/** Ends an operation: what is done stays. Whether it was under way. */
export async function cancelOperation(
  database: Database,
  cancelled: { id: number; who: string; why?: string | undefined },
): Promise<boolean> {
  const { rows } = await database.query<{ isCancelled: boolean }>(
    'select inturn.cancel_operation($1, $2, $3) as "isCancelled"',
    [cancelled.id, cancelled.why ?? null, cancelled.who],
  );
  return rows[0]?.isCancelled === true;
}

/** Does the next part of an operation. */
export async function carryOnOperation(database: Database, id: number): Promise<void> {
  await database.query("select inturn.carry_on_operation($1)", [id]);
}

/** Gives a job to operations that nobody carries on any more. */
export async function wakeOperations(database: Database): Promise<void> {
  await database.query("select inturn.wake_operations()");
}
