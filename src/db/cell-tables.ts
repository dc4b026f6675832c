/**
 * The map of buckets. Every cell has the whole of it; what it says of its own buckets is what counts. Without rows there are no cells:
 * every account lies here.
 */
import { sql } from "drizzle-orm";
import { bigint, boolean, check, primaryKey, smallint, text } from "drizzle-orm/pg-core";
import { inturn } from "./namespace.ts";

/** One row per bucket, and the cell in which its accounts lie. */
export const buckets = inturn.table(
  "buckets",
  {
    bucket: smallint("bucket").notNull(),
    cell: text("cell").notNull(),
    // The name of this database.
    here: text("here").notNull(),
    isHere: boolean("is_here").notNull().generatedAlwaysAs(sql`cell = here`),
    // Grows with each move: of two maps the one with the higher epoch is right about the bucket.
    epoch: bigint("epoch", { mode: "number" }).notNull().default(0),
    // Where it is being moved to. It stays set in the cell that it has left until its rows are deleted there.
    movingTo: text("moving_to"),
    // Who moves it, in the cell that it leaves and in the one to which it goes: a token. Who takes a move over puts another one.
    mover: text("mover"),
    // Whether nothing may be appended: the last of it is being copied.
    isFrozen: boolean("is_frozen").notNull().default(false),
  },
  (t) => [
    primaryKey({ name: "buckets_pk", columns: [t.bucket] }),
    check("buckets_bucket_known", sql`bucket between 0 and 255`),
    check("buckets_frozen_moves", sql`not is_frozen or cell = here and moving_to is not null`),
  ],
);
