/**
 * The tables of operations: a verb for many accounts, which a worker carries out little by little.
 */
import { sql } from "drizzle-orm";
import { bigint, boolean, check, foreignKey, index, integer, json, primaryKey, text } from "drizzle-orm/pg-core";
import { BULK_VERBS } from "../domain/operation.ts";
import { byteOrderedText, moment, oneOf } from "./columns.ts";
import { inturn } from "./namespace.ts";

/** One row per operation. */
export const bulkOperations = inturn.table(
  "bulk_operations",
  {
    id: bigint("id", { mode: "number" }).generatedAlwaysAsIdentity(),
    verb: text("verb", { enum: BULK_VERBS }).notNull(),
    // Which accounts were asked for.
    filter: json("filter").notNull(),
    force: boolean("force").notNull().default(false),
    // Accounts a second at most; null for as fast as possible.
    rate: integer("rate"),
    who: text("who").notNull(),
    why: text("why"),
    createdAt: moment("created_at").notNull().default(sql`clock_timestamp()`),
    cancelledAt: moment("cancelled_at"),
    endedAt: moment("ended_at"),
    matched: bigint("matched", { mode: "number" }).notNull(),
    // Of those that matched, how many have been looked at.
    tried: bigint("tried", { mode: "number" }).notNull().default(0),
  },
  (t) => [
    primaryKey({ name: "bulk_operations_pk", columns: [t.id] }),
    // Read by who looks for operations that nobody carries on.
    index("bulk_operations_open").on(t.id).where(sql`ended_at is null`),
    check("bulk_operations_verb_known", sql`verb in (${oneOf(BULK_VERBS)})`),
  ],
);

/** What an operation does: one row per account that matched, or per dead letter. */
export const bulkOperationItems = inturn.table(
  "bulk_operation_items",
  {
    operationId: bigint("operation_id", { mode: "number" }).notNull(),
    accountId: byteOrderedText("account_id").notNull(),
    // The head that matched, the dead letter, or the first event to be handled again.
    seq: bigint("seq", { mode: "number" }).notNull(),
    // Null until it is looked at; then `done`, or the code of what kept it from being done.
    outcome: text("outcome"),
  },
  (t) => [
    primaryKey({ name: "bulk_operation_items_pk", columns: [t.operationId, t.accountId, t.seq] }),
    index("bulk_operation_items_open").on(t.operationId, t.accountId, t.seq).where(sql`outcome is null`),
    foreignKey({
      name: "bulk_operation_items_operation",
      columns: [t.operationId],
      foreignColumns: [bulkOperations.id],
    }).onDelete("cascade"),
  ],
);
