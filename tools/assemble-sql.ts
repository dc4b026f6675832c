/**
 * Assembles the SQL objects (`src/db/sql/`, one object a file) into the newest migration that is named `…_objects`, or, with
 * `--check`, fails when that migration is not what the files say.
 *
 * A release that changes an object makes a new migration first, with `npx drizzle-kit generate --custom --name objects`. Every
 * such migration has all objects, so the newest one is complete, and it can be applied on top of the earlier ones.
 */
import { glob, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { listObjects, SOURCES } from "./sql-objects.ts";

const MIGRATIONS = "drizzle";
const BREAKPOINT = "--> statement-breakpoint\n";

const HEAD = `-- Assembled from ${SOURCES}/ by tools/assemble-sql.ts: change the files there, then run "npm run assemble".

-- A function may be made before what it uses.
set local check_function_bodies = off;
`;

async function assemble(): Promise<string> {
  const objects = await Promise.all(
    (await listObjects()).map(async (file) => `-- ${file}\n\n${await readFile(join(SOURCES, file), "utf8")}`),
  );
  return [HEAD, ...objects].join(BREAKPOINT);
}

async function findNewest(): Promise<string> {
  const migrations = await Array.fromAsync(glob("*_objects.sql", { cwd: MIGRATIONS }));
  const newest = migrations.toSorted().at(-1);
  if (newest === undefined) throw new Error(`${MIGRATIONS}/ has no migration that is named …_objects`);
  return join(MIGRATIONS, newest);
}

const target = await findNewest();
const assembled = await assemble();
if (!process.argv.includes("--check")) {
  await writeFile(target, assembled);
} else if ((await readFile(target, "utf8")) !== assembled) {
  process.stderr.write(`${target} is not what ${SOURCES}/ says. Run: npm run assemble\n`);
  process.exitCode = 1;
}
