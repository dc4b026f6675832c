import type { Appended, NewEvent } from "../domain/event.ts";
import type { Appender } from "../engine/append.ts";
import { InturnError } from "../errors/error.ts";
import { pointerTo } from "./json-text.ts";

/** The field that a refusal is about. */
const FIELD: Readonly<Record<string, string>> = {
  event_id_reused: "id",
  seq_unexpected: "expectedSeq",
  account_full: "accountId",
  account_not_found: "accountId",
  wrong_cell: "accountId",
};

/** Whether a sender may store these events; throws when they may not. */
export type Admit = (events: readonly NewEvent[]) => Promise<void> | undefined;

/**
 * Stores the events of one request; what is refused names the event at fault.
 *
 * @param isBatch whether the body is an array
 */
export async function appendEvents(
  appender: Appender,
  events: readonly NewEvent[],
  isBatch: boolean,
  admit?: Admit,
): Promise<readonly Appended[]> {
  try {
    const admitted = admit?.(events);
    if (admitted !== undefined) await admitted;
    return await appender.append(events);
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
