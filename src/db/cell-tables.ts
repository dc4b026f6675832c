/**
 * The map of buckets, the same in every cell but for what is here. Without rows there are no cells: every account lies here.
 */
import { sql } from "drizzle-orm";
import { boolean, check, primaryKey, smallint, text } from "drizzle-orm/pg-core";
import { inturn } from "./namespace.ts";

/** One row per bucket, and the cell in which its accounts lie. */
export const buckets = inturn.table(
  "buckets",
  {
    bucket: smallint("bucket").notNull(),
    cell: text("cell").notNull(),
    // Whether that cell is this database.
    isHere: boolean("is_here").notNull(),
  },
  (t) => [
    primaryKey({ name: "buckets_pk", columns: [t.bucket] }),
    check("buckets_bucket_known", sql`bucket between 0 and 255`),
  ],
);
