import { Command, InvalidArgumentError } from "commander";
import { readSettings } from "../config/settings.ts";
import type { Database } from "../db/pool.ts";
import { deleteSource, insertSource, listSources, rotateSource } from "../db/sources.ts";
import { createWebhookSecret } from "../engine/access.ts";
import { InturnError } from "../errors/error.ts";
import { withConnection } from "../service/connection.ts";
import { jsonOption } from "./options.ts";
import { print, printTable, say } from "./output.ts";

/** `sources`: where signed webhooks come from. */
export function createSourcesCommand(): Command {
  return new Command("sources")
    .addCommand(createCreateCommand())
    .addCommand(
      new Command("list")
        .description("list the sources")
        .addOption(jsonOption())
        .action(async (flags: { json?: boolean }) => {
          const sources = await connect(listSources);
          if (flags.json === true) return print(JSON.stringify(sources));
          printTable(
            ["name", "account", "created"],
            sources.map((source) => [source.name, source.accountPointer, source.createdAt.toISOString()]),
          );
        }),
    )
    .addCommand(
      new Command("rotate")
        .description("give a source a new secret and print it; the one before stays valid until the next rotation")
        .argument("<name>", "the source's name", parseName)
        .action(async (name: string) => {
          const secret = createWebhookSecret();
          if (!(await connect((database) => rotateSource(database, name, secret)))) throw sourceNotFound(name);
          print(secret);
        }),
    )
    .addCommand(
      new Command("remove")
        .description("take nothing more from a source")
        .argument("<name>", "the source's name", parseName)
        .action(async (name: string) => {
          if (!(await connect((database) => deleteSource(database, name)))) throw sourceNotFound(name);
          say(`Source ${name} is removed; servers refuse it within a second or two.`);
        }),
    );
}

function createCreateCommand(): Command {
  return new Command("create")
    .description("create a source and print its secret")
    .argument("<name>", "the source's name; it stands in the address: /v1/sources/<name>", parseName)
    .requiredOption(
      "--account <pointer>",
      "the JSON pointer to the account's id in a body: /data/customer",
      parsePointer,
    )
    .addOption(jsonOption())
    .action(async (name: string, flags: { account: string; json?: boolean }) => {
      const secret = createWebhookSecret();
      const isNew = await connect((database) =>
        insertSource(database, { name, secret, accountPointer: flags.account }),
      );
      if (!isNew) throw new InturnError("source_exists", `There is a source ${name} already; rotate or remove it.`);
      print(flags.json === true ? JSON.stringify({ name, secret, path: `/v1/sources/${name}` }) : secret);
    });
}

function parseName(text: string): string {
  if (/^[a-z0-9][a-z0-9._-]{0,99}$/i.test(text)) return text;
  throw new InvalidArgumentError("A name has 1 to 100 letters, digits, dots, dashes and underscores.");
}

function parsePointer(text: string): string {
  if (/^(?:\/(?:[^~/]|~[01])*)+$/.test(text) && text.length <= 500) return text;
  throw new InvalidArgumentError("A JSON pointer begins with a slash: /data/customer");
}

function sourceNotFound(name: string): InturnError {
  return new InturnError("source_not_found", `There is no source ${name}.`);
}

async function connect<Result>(work: (database: Database) => Promise<Result>): Promise<Result> {
  return await withConnection({ settings: readSettings(process.env), name: "inturn sources", say }, work);
}
