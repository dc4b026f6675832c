import { z } from "@hono/zod-openapi";
import type { Appended, NewEvent } from "../domain/event.ts";
import type { Appender, AppendOptions } from "../engine/append.ts";
import type { ErrorCode } from "../errors/codes.ts";
import { InturnError } from "../errors/error.ts";
import { pointerTo } from "./json-text.ts";
import type { ApiContext } from "./route.ts";

/** The field that a refusal is about. */
const FIELD: Readonly<Record<string, string>> = {
  event_id_reused: "id",
  seq_unexpected: "expectedSeq",
  account_full: "accountId",
  account_not_found: "accountId",
  wrong_cell: "accountId",
  batch_over_cells: "accountId",
};

/** Whether a sender may store these events; throws when they may not. */
export type Admit = (events: readonly NewEvent[]) => Promise<void> | undefined;

/**
 * Stores the events of one request; what is refused names the event at fault.
 *
 * @param options.isBatch whether the body is an array
 * @param options.admit whether the sender may store them
 */
export async function appendEvents(
  appender: Appender,
  events: readonly NewEvent[],
  { isBatch, admit, ...options }: AppendOptions & { isBatch: boolean; admit?: Admit },
): Promise<readonly Appended[]> {
  try {
    const admitted = admit?.(events);
    if (admitted !== undefined) await admitted;
    return await appender.append(events, options);
  } catch (error) {
    if (!(error instanceof InturnError) || typeof error.data["index"] !== "number") throw error;
    const { index, ...data } = error.data;
    const where = pointerTo([...(isBatch ? [index] : []), FIELD[error.code] ?? ""]);
    throw new InturnError(error.code, error.message, {
      data,
      faults: [{ where, message: error.message }],
      cause: error,
    });
  }
}

/** What became of an event of a batch that was stored in part, over several cells. */
export type Outcome = Appended | { readonly accountId: string; readonly code: ErrorCode; readonly detail: string };

/** What became of each event, when this is the error of a batch that was stored in part. */
export function outcomesOf(error: unknown): readonly Outcome[] | undefined {
  const events = error instanceof InturnError ? error.data["events"] : undefined;
  return Array.isArray(events) ? (events as Outcome[]) : undefined;
}

/** The `atomic` of a query. */
export const atomicSchema = z.enum(["true", "false"]).openapi({
  description:
    "Whether an array whose events lie in several cells is refused (`batch_over_cells`) rather than stored in part. Without cells every array is stored whole.",
  default: "false",
});

/** Whether a request is to be stored whole. @throws InturnError `query_invalid` */
export function readAtomic(c: ApiContext): boolean {
  const atomic = c.req.query("atomic");
  if (atomic === undefined) return false;
  const { success, data } = atomicSchema.safeParse(atomic);
  if (success) return data === "true";
  throw new InturnError(
    "query_invalid",
    "The query cannot be used: atomic must be true or false; nothing was stored.",
    {
      faults: [{ where: "atomic", message: "must be true or false" }],
    },
  );
}
