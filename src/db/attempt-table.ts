import { sql } from "drizzle-orm";
import { bigint, check, integer, primaryKey, text, uuid } from "drizzle-orm/pg-core";
import { ATTEMPT_OUTCOMES } from "../domain/attempt.ts";
import { byteOrderedText, moment, oneOf } from "./columns.ts";
import { inturn } from "./namespace.ts";

/**
 * The attempts of events that failed: the last 20 of each event, for as long as the event is kept. An event that goes well at its
 * first attempt writes nothing here.
 */
export const attempts = inturn.table(
  "attempts",
  {
    accountId: byteOrderedText("account_id").notNull(),
    seq: bigint("seq", { mode: "number" }).notNull(),
    // The attempt's number, modulo 20: the 21st replaces the first.
    slot: integer("slot").notNull(),
    attempt: integer("attempt").notNull(),
    workerId: uuid("worker_id"),
    startedAt: moment("started_at"),
    endedAt: moment("ended_at").notNull(),
    outcome: text("outcome", { enum: ATTEMPT_OUTCOMES }).notNull(),
    error: text("error"),
  },
  (t) => [
    primaryKey({ name: "attempts_pk", columns: [t.accountId, t.seq, t.slot] }),
    check("attempts_outcome_known", sql`outcome in (${oneOf(ATTEMPT_OUTCOMES)})`),
  ],
);
