import { z } from "@hono/zod-openapi";
import { PAGE_ROWS_MAX } from "../db/accounts.ts";
import { ID_LENGTH_MAX } from "../domain/event.ts";
import { InturnError } from "../errors/error.ts";
import type { ApiContext } from "./route.ts";

/** A whole number in a query. */
export function wholeNumberSchema(least: number, most: number, fallback: number) {
  const isIn = (text: string) => /^\d{1,16}$/.test(text) && Number(text) >= least && Number(text) <= most;
  return z
    .string()
    .refine(isIn, `must be a whole number from ${least} to ${most}`)
    .transform(Number)
    .default(fallback)
    .openapi({ type: "integer", minimum: least, maximum: most, default: fallback });
}

/** How many rows a page has. */
export const limitSchema = wholeNumberSchema(1, PAGE_ROWS_MAX, 100);

/** @throws InturnError `query_invalid`, which names the parameters */
export function checkQuery<Schema extends z.ZodType>(c: ApiContext, schema: Schema): z.output<Schema> {
  const repeated = Object.entries(c.req.queries()).find(([, values]) => values.length > 1)?.[0];
  if (repeated !== undefined) throw queryInvalid([{ where: repeated, message: "is there more than once" }]);
  const checked = schema.safeParse(c.req.query());
  if (checked.success) return checked.data;
  const faults = checked.error.issues.map((issue) => {
    const path = issue.code === "unrecognized_keys" ? issue.keys : issue.path;
    return { where: path.join(".") || "query", message: issue.message };
  });
  throw queryInvalid(faults);
}

function queryInvalid(faults: { where: string; message: string }[]): InturnError {
  const names = faults.map((fault) => fault.where).join(", ");
  return new InturnError("query_invalid", `The query cannot be used: ${names}.`, { faults });
}

/** The `next` of a page: where the one after it begins. */
export function writeCursor(position: object): string {
  return Buffer.from(JSON.stringify(position)).toString("base64url");
}

/**
 * Where a page begins.
 *
 * @param what the cursor is of, for the error
 * @throws InturnError `query_invalid` when it is not what {@link writeCursor} has made of such a position
 */
export function readCursor<Position>(cursor: string, schema: z.ZodType<Position>, what: string): Position {
  try {
    return schema.parse(JSON.parse(Buffer.from(cursor, "base64url").toString()));
  } catch {
    const message = `is not the \`next\` of a page of this ${what}`;
    throw new InturnError("query_invalid", `The cursor ${message}.`, { faults: [{ where: "cursor", message }] });
  }
}

/** An account's id in a cursor: PostgreSQL's text has no zero byte. */
export const cursorAccountSchema: z.ZodString = z
  .string()
  .max(ID_LENGTH_MAX)
  .refine((text) => !text.includes("\0"));

/** PostgreSQL's text of a time, as RFC 3339 writes it. */
export function toRfc3339<Time extends string | null>(time: Time): Time {
  return (time?.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00") ?? null) as Time;
}
