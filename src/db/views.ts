/**
 * The public views as drizzle sees them. `sql/views/` defines them; here they only get types.
 */
import { bigint, doublePrecision, integer, text, timestamp } from "drizzle-orm/pg-core";
import { inturn } from "./namespace.ts";

const count = (name: string) => bigint(name, { mode: "number" });
const moment = (name: string) => timestamp(name, { withTimezone: true, mode: "string" });

/** One row per account. */
export const accountResults = inturn
  .view("account_results", {
    accountId: text("account_id").notNull(),
    state: text("state").notNull(),
    events: count("events").notNull(),
    processed: count("processed").notNull(),
    pending: count("pending").notNull(),
    dead: count("dead").notNull(),
    headSeq: count("head_seq"),
    headAttempts: integer("head_attempts"),
    headError: text("head_error"),
    firstReceivedAt: moment("first_received_at"),
    lastProcessedAt: moment("last_processed_at"),
    oldestPendingSeconds: doublePrecision("oldest_pending_seconds"),
    blockedSince: moment("blocked_since"),
    waitsFor: text("waits_for"),
  })
  .existing();

/** Every breach of the promise; empty. */
export const orderViolations = inturn
  .view("order_violations", {
    accountId: text("account_id").notNull(),
    seq: count("seq").notNull(),
    kind: text("kind", { enum: ["gap", "overlap", "settled_out_of_order"] }).notNull(),
    detail: text("detail").notNull(),
  })
  .existing();

/** One row: the whole history. */
export const runSummary = inturn
  .view("run_summary", {
    events: count("events").notNull(),
    accounts: count("accounts").notNull(),
    processed: count("processed").notNull(),
    firstReceivedAt: moment("first_received_at"),
    lastProcessedAt: moment("last_processed_at"),
    makespanSeconds: doublePrecision("makespan_seconds"),
    idealSeconds: doublePrecision("ideal_seconds"),
    efficiency: doublePrecision("efficiency"),
  })
  .existing();
