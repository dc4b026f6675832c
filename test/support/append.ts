import { appendRequests } from "../../src/db/append.ts";
import type { Database } from "../../src/db/pool.ts";
import type { Appended, NewEvent } from "../../src/domain/event.ts";

/** Caps that no test meets by accident. */
export const NO_CAPS = { accountPendingMax: 1_000_000_000, pendingMax: 1_000_000_000 };

/** An event of which only the account counts, unless told. */
export function newEvent(event: Partial<NewEvent> & { accountId: string }): NewEvent {
  return { data: "null", type: null, id: null, occurredAt: null, metadata: null, expectedSeq: null, ...event };
}

/** Stores one request, past the group commit. */
export async function appendEvents(database: Database, events: readonly NewEvent[]): Promise<readonly Appended[]> {
  const [answer] = await appendRequests(database, [events], NO_CAPS);
  if (answer === undefined || "refusal" in answer) throw new Error(JSON.stringify(answer));
  return answer.appended;
}
