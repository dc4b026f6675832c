/**
 * Appending inside a transaction that somebody has open already, with whichever library: the events exist when that commits,
 * together with everything else that was written in it.
 */

import type { SendEvent } from "../client/client.ts";
import { askThrough, saidIn, type Transaction } from "../db/transactions-of-others.ts";
import type { Appended, NewEvent } from "../domain/event.ts";
import { InturnError } from "../errors/error.ts";
import { JsonEvents } from "../http/json-events.ts";
import { RequestTrace } from "../trace/request-trace.ts";

const jsonEvents = new JsonEvents();

/**
 * Appends events, all or none, in their order, after those that their accounts have. Their accounts are locked until the transaction
 * ends: keep it short.
 *
 * @param transaction a client of `pg` with an open transaction, or a transaction of drizzle, knex, kysely, Prisma or postgres.js
 * @returns the seq of each event, and whether it was there already
 * @throws InturnError `event_invalid`, before anything is asked; `event_id_reused`, `seq_unexpected`, `wrong_cell` and `bucket_moving`: then the transaction
 *   has failed, unless a savepoint was set before; database errors as they come
 * @example
 * ```ts
 * await db.transaction(async (tx) => {
 *   await tx.insert(orders).values(order);
 *   await appendIn(tx, [{ accountId: order.customerId, type: "order.placed", data: order }]);
 * });
 * ```
 */
export async function appendIn(transaction: Transaction, events: readonly SendEvent[]): Promise<Appended[]> {
  if (events.length === 0) return [];
  const texts = toNewEvents(events).map(({ accountId, data, type, id, occurredAt, metadata, expectedSeq }) => {
    const rest = JSON.stringify({ accountId, type, id, time: occurredAt, expectedSeq }).slice(0, -1);
    return `${rest},"metadata":${metadata ?? "null"},"data":${data}}`;
  });
  const rows = await askThrough(transaction, `[${texts.join(",")}]`).catch((error: unknown) => {
    throw toRefusal(error) ?? error;
  });
  return rows.map(({ account_id: accountId, seq, duplicate }) => ({ accountId, seq: Number(seq), duplicate }));
}

/** Checks events as the HTTP API does. @throws InturnError `event_invalid` */
export function toNewEvents(events: readonly SendEvent[]): readonly NewEvent[] {
  const context = { accountId: undefined, idempotencyKey: undefined, trace: new RequestTrace(undefined) };
  return jsonEvents.read(JSON.stringify(events), context).events;
}

function toRefusal(error: unknown): InturnError | undefined {
  for (const { code, constraint, message } of saidIn(error)) {
    if (code === "IT013") return new InturnError("seq_unexpected", `${message}; nothing was stored.`, { cause: error });
    if (code === "IT015") return new InturnError("bucket_moving", `${message}; nothing was stored.`, { cause: error });
    if (code === "IT014") return new InturnError("wrong_cell", `${message}; nothing was stored.`, { cause: error });
    if (code === "23505" && constraint === "events_event_id")
      return new InturnError("event_id_reused", `${message}; nothing was stored.`, { cause: error });
  }
  return undefined;
}
