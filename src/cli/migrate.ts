import { Command } from "commander";
import { readSettings } from "../config/settings.ts";
import { useDatabase } from "../service/database.ts";
import { jsonOption } from "./options.ts";
import { print, say } from "./output.ts";

/** `migrate`: brings the database to this version. */
export function createMigrateCommand(): Command {
  return new Command("migrate").addOption(jsonOption()).action(async (flags: { json?: boolean }) => {
    const database = await useDatabase({ settings: readSettings(process.env), migrate: true, say });
    await database.release();
    print(
      flags.json === true
        ? JSON.stringify({ migrated: true, postgres: database.postgres })
        : "The database is up to date.",
    );
  });
}
