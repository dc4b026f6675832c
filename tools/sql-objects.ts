import { glob } from "node:fs/promises";

/** Where the SQL objects are, one a file. */
export const SOURCES = "src/db/sql";

/** In the order in which they are applied: a type before what names it, privileges at the end. */
const PARTS = ["storage.sql", "append/append_answer.sql", "*/*.sql", "privileges.sql"];

/** The files of all objects, in the order in which they are applied. */
export async function listObjects(): Promise<string[]> {
  const files = new Set<string>();
  for (const part of PARTS) {
    const found = await Array.fromAsync(glob(part, { cwd: SOURCES }));
    for (const file of found.toSorted()) files.add(file);
  }
  return [...files];
}
