/**
 * What the columns of the tables are made of.
 */
import { type SQL, sql } from "drizzle-orm";
import { customType, timestamp } from "drizzle-orm/pg-core";

/** Byte order: the order in which rows are locked must not depend on a locale, and comparing is cheaper. */
export const byteOrderedText = customType<{ data: string }>({ dataType: () => 'text collate "C"' });

/** A time stamp with its zone. */
export const moment = (name: string) => timestamp(name, { withTimezone: true });

/** The values of a check, as SQL. */
export const oneOf = (values: readonly string[]): SQL => sql.raw(values.map((value) => `'${value}'`).join(", "));
