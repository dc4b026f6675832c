import { spawn } from "node:child_process";
import { Command } from "commander";
import { readSettings, type Settings } from "../config/settings.ts";
import { urlOfDatabase } from "../db/migrate.ts";
import { commandLine } from "../errors/command-line.ts";
import { overConnection } from "../service/connection.ts";
import { type ReadyDatabase, useDatabase } from "../service/database.ts";
import { print, say } from "./output.ts";
import { promptForSql, runSql } from "./prompt.ts";

/** `url`: where the data are, for tools that are not ours. */
export function createUrlCommand(): Command {
  return new Command("url")
    .argument("[database]", "another database of the same server, such as inturn_demo")
    .action(async (name: string | undefined) => {
      const settings = readSettings(process.env);
      const { database, url } = await open(settings, name);
      print(url);
      if (settings.databaseUrl === undefined) {
        say(
          `The embedded server runs only while a command uses it, such as ${commandLine("start")}; ${commandLine("psql")} starts it by itself.`,
        );
      }
      await database.release();
    });
}

/** `psql`: a look at the data with PostgreSQL's own tool. */
export function createPsqlCommand(): Command {
  return new Command("psql")
    .argument("[database]", "another database of the same server, such as inturn_demo")
    .option("-c, --command <sql>", "run this and end")
    .action(async (name: string | undefined, { command }: { command?: string }) => {
      const { database, url } = await open(readSettings(process.env), name);
      try {
        const code = await runPsql([url, ...(command === undefined ? [] : ["-c", command])]);
        if (code === undefined) await goWithoutPsql(url, command);
        else process.exitCode = code;
      } finally {
        await database.release();
      }
    });
}

async function open(settings: Settings, name: string | undefined): Promise<{ database: ReadyDatabase; url: string }> {
  const database = await useDatabase({ settings, migrate: false, say });
  return { database, url: name === undefined ? database.url : urlOfDatabase(database.url, name) };
}

/** Its exit code; undefined when there is no psql. */
async function runPsql(args: readonly string[]): Promise<number | undefined> {
  const psql = spawn("psql", args, { stdio: "inherit" });
  const { promise, resolve } = Promise.withResolvers<number | undefined>();
  psql.once("error", () => resolve(undefined)).once("exit", (code) => resolve(code ?? 1));
  return await promise;
}

async function goWithoutPsql(url: string, command: string | undefined): Promise<void> {
  await overConnection({ url, name: "inturn psql" }, (connection) =>
    command === undefined ? promptForSql(connection) : runSql(connection, command),
  );
}
