import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import { readSettings } from "../config/settings.ts";
import type { Database } from "../db/pool.ts";
import { deleteSource, insertSource, listSources, rotateSource } from "../db/sources.ts";
import { arePointers, POINTERS, SOURCE_SCHEMES, type SourceScheme } from "../domain/source.ts";
import { createWebhookSecret } from "../engine/access.ts";
import { InturnError } from "../errors/error.ts";
import { inEveryCell } from "../service/connection.ts";
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
          const [sources] = await connect(listSources);
          if (flags.json === true) return print(JSON.stringify(sources));
          printTable(
            ["name", "scheme", "account", "created"],
            sources.map(({ name, scheme, accountPointer, createdAt }) => [
              name,
              scheme,
              accountPointer.replaceAll("\n", " "),
              createdAt.toISOString(),
            ]),
          );
        }),
    )
    .addCommand(
      new Command("rotate")
        .description("give a source a new secret and print it; the one before stays valid until the next rotation")
        .argument("<name>", "the source's name", parseName)
        .addOption(secretFileOption())
        .action(async (name: string, { secretFile }: { secretFile?: string }) => {
          const source = (await connect(listSources)).flat().find((known) => known.name === name);
          if (source === undefined) throw sourceNotFound(name);
          const secret = readSecret(source.scheme, secretFile);
          const rotated = await connect((database) => rotateSource(database, name, secret));
          if (!rotated.includes(true)) throw sourceNotFound(name);
          print(secret);
        }),
    )
    .addCommand(
      new Command("remove")
        .description("take nothing more from a source")
        .argument("<name>", "the source's name", parseName)
        .action(async (name: string) => {
          const removed = await connect((database) => deleteSource(database, name));
          if (!removed.includes(true)) throw sourceNotFound(name);
          say(`Source ${name} is removed; servers refuse it within a second or two.`);
        }),
    );
}

interface CreateFlags {
  readonly scheme: SourceScheme;
  readonly account?: string;
  readonly id?: string;
  readonly type?: string;
  readonly secretFile?: string;
  readonly json?: boolean;
}

function createCreateCommand(): Command {
  return new Command("create")
    .description("create a source and print its secret")
    .argument("<name>", "the source's name; it stands in the address: /v1/sources/<name>", parseName)
    .addOption(
      new Option("--scheme <scheme>", "whose way of signing it is").choices(SOURCE_SCHEMES).default("standard"),
    )
    .option("--account <pointer>", `where the account's id is: ${POINTER_HELP}`, collectPointer)
    .option("--id <pointer>", "where the event's id is, likewise", collectPointer)
    .option("--type <pointer>", "where the event's type is, likewise", collectPointer)
    .addOption(secretFileOption())
    .addOption(jsonOption())
    .action(async (name: string, flags: CreateFlags) => {
      const { scheme, account: accountPointer = POINTERS[scheme].account, id: idPointer, type: typePointer } = flags;
      if (accountPointer === "") throw new InturnError("settings_invalid", `--scheme ${scheme} needs --account.`);
      const secret = readSecret(scheme, flags.secretFile);
      // Of several cells none gets it when one has it.
      const isKnown = (await connect(listSources)).flat().some((source) => source.name === name);
      const added = isKnown
        ? [false]
        : await connect((database) =>
            insertSource(database, { name, secret, scheme, accountPointer, idPointer, typePointer }),
          );
      if (added.includes(false))
        throw new InturnError("source_exists", `There is a source ${name} already; rotate or remove it.`);
      print(flags.json === true ? JSON.stringify({ name, secret, path: `/v1/sources/${name}` }) : secret);
    });
}

const POINTER_HELP = "a JSON pointer (/data/customer) or header:<name>; given again, the first that is there counts";

function secretFileOption(): Option {
  return new Option("--secret-file <path>", "the secret that the sender has made, in a file; - for standard input");
}

/** A secret on the command line would stand in the list of processes. */
function readSecret(scheme: SourceScheme, path: string | undefined): string {
  const secret = path === undefined ? createSecretFor(scheme) : readSecretFile(path);
  const isGood =
    scheme === "standard" ? /^whsec_[A-Za-z0-9+/]{16,}={0,2}$/.test(secret) : /^[\x21-\x7e]{8,500}$/.test(secret);
  if (isGood) return secret;
  const form = scheme === "standard" ? "`whsec_` and base64" : "8 to 500 printable characters";
  throw new InturnError("settings_invalid", `The secret of a source of the scheme ${scheme} is ${form}.`);
}

function readSecretFile(path: string): string {
  try {
    return readFileSync(path === "-" ? 0 : path, "utf8").trim();
  } catch (cause) {
    throw new InturnError("settings_invalid", `The file of --secret-file cannot be read: ${String(cause)}`, { cause });
  }
}

/** Telegram takes no other characters than these. */
function createSecretFor(scheme: SourceScheme): string {
  return scheme === "standard" ? createWebhookSecret() : randomBytes(32).toString("hex");
}

function parseName(text: string): string {
  if (/^[a-z0-9][a-z0-9._-]{0,99}$/i.test(text)) return text;
  throw new InvalidArgumentError("A name has 1 to 100 letters, digits, dots, dashes and underscores.");
}

function collectPointer(text: string, before?: string): string {
  const pointers = before === undefined ? text : `${before}\n${text}`;
  if (arePointers(pointers) && !text.includes("\n")) return pointers;
  throw new InvalidArgumentError(
    "It takes a JSON pointer, which begins with a slash (/data/customer), or header:<name>.",
  );
}

function sourceNotFound(name: string): InturnError {
  return new InturnError("source_not_found", `There is no source ${name}.`);
}

/** Sources are the same in every cell. */
async function connect<Result>(work: (database: Database) => Promise<Result>): Promise<[Result, ...Result[]]> {
  return await inEveryCell({ settings: readSettings(process.env), name: "inturn sources", say }, work);
}
