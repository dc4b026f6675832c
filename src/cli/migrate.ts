import { Command } from "commander";
import { routeOf } from "../config/database-settings.ts";
import { readSettings } from "../config/settings.ts";
import { isMigrated } from "../db/migrate.ts";
import { useDatabase } from "../service/database.ts";
import { jsonOption } from "./options.ts";
import { print, say } from "./output.ts";

/** `migrate`: brings the database to this version, or says whether that has to be done. */
export function createMigrateCommand(): Command {
  return new Command("migrate")
    .option("--check", "change nothing; exit 1 if the database has to be migrated")
    .addOption(jsonOption())
    .action(async ({ check = false, json = false }: { check?: boolean; json?: boolean }) => {
      const settings = readSettings(process.env);
      // A server of our own is always migrated.
      const { databaseUrl } = routeOf(settings);
      if (check && databaseUrl !== undefined) return await checkSchema(databaseUrl, json);
      const database = await useDatabase({ settings, migrate: true, say });
      await database.release();
      print(json ? JSON.stringify({ migrated: true, postgres: database.postgres }) : "The database is up to date.");
    });
}

async function checkSchema(url: string, json: boolean): Promise<void> {
  const migrated = await isMigrated(url);
  if (!migrated) process.exitCode = 1;
  if (json) return print(JSON.stringify({ migrated }));
  print(migrated ? "The database is up to date." : "The database has to be migrated: run this without --check.");
}
