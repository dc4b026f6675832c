/**
 * What `doctor` looks at in a database: one query for each thing, and what its answer means. No check changes anything.
 */
import type pg from "pg";
import { isForbidden } from "../errors/database.ts";
import { type Check, type Finding, type Needs, ok, readRow, type Verdict } from "./examine-check.ts";
import { SERVER_CHECKS } from "./examine-server.ts";
import { WORK_CHECKS } from "./examine-work.ts";
import { newestMigrationMs } from "./migrate.ts";
import { readReadiness } from "./progress.ts";

/** Looks at everything. What needs our tables is left out where they are not there. */
export async function examineDatabase(client: pg.Client, needs: Needs): Promise<Finding[]> {
  const findings: Finding[] = [];
  const lookAt = async (checks: readonly Check[]) => {
    for (const { check, look } of checks) findings.push({ check, ...(await look(client, needs).catch(explain)) });
  };
  await lookAt([...SERVER_CHECKS, { check: "schema", look: checkSchema }]);
  const schema = findings.at(-1);
  if (schema?.level !== "problem") await lookAt(WORK_CHECKS);
  return findings;
}

/** A role that may not look says nothing about what it would have seen. */
function explain(error: unknown): Verdict {
  const found = `could not be looked at: ${error instanceof Error ? error.message : String(error)}`;
  return { level: "warning", found, advice: "Run doctor as the role that owns the tables." };
}

async function checkSchema(client: pg.Client): Promise<Verdict> {
  const { isMigrated } = await readReadiness(client);
  if (!isMigrated) {
    const found = "our tables of this version, or graphile-worker's, are missing";
    return { level: "problem", found, advice: "Run `migrate` with this version, as the owner of the database." };
  }
  const { last } = await readRow<{ last: string | null }>(
    client,
    "select max(created_at) as last from inturn.migrations",
  ).catch((error: unknown) => {
    // Who may only append may not read it.
    if (isForbidden(error)) return { last: null };
    throw error;
  });
  if (Number(last ?? 0) <= newestMigrationMs())
    return ok("our tables of this version are there, and graphile-worker's");
  const found = "the database was migrated by a newer version";
  return { level: "warning", found, advice: "Run the newer version here, too." };
}
