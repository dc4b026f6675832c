import { Command, InvalidArgumentError } from "commander";
import { readSettings } from "../config/settings.ts";
import { applyRoles, planRoles, type RolesPlan, roleNames } from "../db/roles.ts";
import { commandLine } from "../errors/command-line.ts";
import { overConnection } from "../service/connection.ts";
import { findDatabase } from "../service/database.ts";
import { print, say } from "./output.ts";

interface Flags {
  readonly apply?: boolean;
  readonly prefix: string;
}

/** `roles`: the SQL that lets each process do what it is for, and no more. */
export function createRolesCommand(): Command {
  return new Command("roles")
    .option("--apply", "run it, all or nothing; without this flag the command only prints it")
    .option("--prefix <text>", "what the names of the roles begin with", toPrefix, "inturn_")
    .action(async ({ apply = false, prefix }: Flags) => {
      const database = await findDatabase(readSettings(process.env), say);
      try {
        await overConnection({ url: database.url, name: "inturn roles" }, async (connection) => {
          const plan = await planRoles(connection, prefix);
          if (apply) await applyRoles(connection, plan);
          else print(`begin;\n${plan.statements.map((statement) => `${statement};`).join("\n")}\ncommit;`);
          for (const lack of apply ? [] : plan.lacks) say(`--apply would change nothing: ${lack}`);
          say(sayNext(plan, { apply, prefix }));
        });
      } finally {
        await database.release();
      }
    });
}

function sayNext({ isMigrated, owner }: RolesPlan, { apply, prefix }: { apply: boolean; prefix: string }): string {
  const { ingest, work, read, operate } = roleNames(prefix);
  if (!isMigrated)
    return `The database is not migrated. Migrate it as a member of ${owner}, with ?options=-c%20role%3D${owner} behind its address; then run this again.`;
  if (!apply) return `Run it yourself, or with ${commandLine("roles", "--apply")}. ${owner} owns the tables.`;
  return `Done. ${owner} owns the tables. Make your roles that log in members: of ${work} for workers; of ${ingest}, ${read} and ${operate} for the API. Run this again after each migration.`;
}

function toPrefix(text: string): string {
  if (/^[a-z_][a-z0-9_]{0,40}$/.test(text)) return text;
  throw new InvalidArgumentError("It takes up to 41 lower-case letters, digits and underscores.");
}
