/**
 * The tables of pauses that cover more than one account.
 */
import { sql } from "drizzle-orm";
import { bigint, boolean, check, integer, primaryKey, text, unique } from "drizzle-orm/pg-core";
import { PAUSE_COVERS } from "../domain/pause.ts";
import { byteOrderedText, moment, oneOf } from "./columns.ts";
import { inturn } from "./namespace.ts";

/** One row per pause that stands: a row that is deleted covers nothing any more, and the accounts that rest because of it are woken. */
export const pauses = inturn.table(
  "pauses",
  {
    id: bigint("id", { mode: "number" }).generatedAlwaysAsIdentity(),
    covers: text("covers", { enum: PAUSE_COVERS }).notNull(),
    // The type or the prefix; empty for everything.
    value: byteOrderedText("value").notNull().default(""),
    since: moment("since").notNull().default(sql`clock_timestamp()`),
    until: moment("until"),
    who: text("who").notNull(),
    why: text("why"),
    // Events a second that may start while it ends little by little.
    rate: integer("rate"),
    // Up to when that rate has been used.
    releasedAt: moment("released_at"),
  },
  (t) => [
    primaryKey({ name: "pauses_pk", columns: [t.id] }),
    unique("pauses_covers_value").on(t.covers, t.value),
    check("pauses_covers_known", sql`covers in (${oneOf(PAUSE_COVERS)})`),
    check("pauses_value_of_cover", sql`(covers = 'all') = (value = '')`),
    check("pauses_ends_at_rate", sql`(rate is null) = (released_at is null)`),
  ],
);

/** One row: the version of the list of pauses. Who changes the list locks it. */
export const pauseList = inturn.table(
  "pause_list",
  {
    onlyRow: boolean("only_row").notNull().default(true),
    version: bigint("version", { mode: "number" }).notNull(),
  },
  (t) => [primaryKey({ name: "pause_list_pk", columns: [t.onlyRow] }), check("pause_list_one_row", sql`only_row`)],
);
