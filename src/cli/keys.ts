import { Command, InvalidArgumentError } from "commander";
import { readSettings } from "../config/settings.ts";
import { insertApiKey, listApiKeys, revokeApiKey } from "../db/api-keys.ts";
import type { Database } from "../db/pool.ts";
import { SCOPES, type Scope } from "../domain/access.ts";
import { ID_LENGTH_MAX } from "../domain/event.ts";
import { createKey } from "../engine/access.ts";
import { InturnError } from "../errors/error.ts";
import { inEveryCell } from "../service/connection.ts";
import { jsonOption, wholeNumberOption } from "./options.ts";
import { print, printTable, say } from "./output.ts";

/** Characters of a key's name: beside it there is room for the user's name. */
const NAME_LENGTH_MAX = 100;

interface KeyFlags {
  readonly name: string;
  readonly scope: Scope[];
  readonly accountPrefix?: string;
  readonly eventsPerSecond?: number;
  readonly json?: boolean;
}

/** `keys`: the API keys. */
export function createKeysCommand(): Command {
  return new Command("keys")
    .addCommand(createCreateCommand())
    .addCommand(
      new Command("list")
        .description("list the keys, revoked ones too")
        .addOption(jsonOption())
        .action(async (flags: { json?: boolean }) => {
          const [keys] = await connect(listApiKeys);
          if (flags.json === true) return print(JSON.stringify(keys));
          printTable(
            ["id", "name", "scopes", "accounts", "events/s", "created", "revoked"],
            keys.map((key) => [
              key.id,
              key.name,
              key.scopes.join(","),
              `${key.accountPrefix ?? ""}*`,
              String(key.eventsPerSecond ?? "–"),
              key.createdAt.toISOString(),
              key.revokedAt?.toISOString() ?? "–",
            ]),
          );
        }),
    )
    .addCommand(
      new Command("revoke")
        .description("refuse a key from now on, for good")
        .argument("<id>", "the key's id")
        .action(async (id: string) => {
          const revoked = await connect((database) => revokeApiKey(database, id));
          if (!revoked.includes(true))
            throw new InturnError("key_not_found", `There is no key ${id} that could be revoked.`);
          say(`Key ${id} is revoked; servers refuse it within a second or two.`);
        }),
    );
}

function createCreateCommand(): Command {
  return new Command("create")
    .description("create a key and print it, once: it is not kept")
    .requiredOption("--name <name>", "whose key it is; recorded with what they do", parseLine(NAME_LENGTH_MAX))
    .option("--scope <scopes>", `what it may do: ${SCOPES.join(", ")}, separated by commas`, parseScopes, [...SCOPES])
    .option("--account-prefix <text>", "only accounts whose id begins with this", parseLine(ID_LENGTH_MAX))
    .addOption(
      wholeNumberOption("--events-per-second <number>", "how many events it may send to one server in a second", {
        least: 1,
        most: 10_000_000,
      }),
    )
    .addOption(jsonOption())
    .action(async (flags: KeyFlags) => {
      const { id, key, hash } = createKey();
      const { name, scope: scopes, accountPrefix = null, eventsPerSecond = null } = flags;
      await connect((database) => insertApiKey(database, { id, name, hash, scopes, accountPrefix, eventsPerSecond }));
      if (flags.json === true) return print(JSON.stringify({ id, key }));
      say(`Key ${id} of ${name}. Keep it now: it is shown this once.`);
      print(key);
    });
}

/** An empty prefix, of a variable that is not set, say, would be a key to everything. */
function parseLine(lengthMax: number): (text: string) => string {
  return (text) => {
    if (/^[^\u0000-\u001f\u007f]+$/.test(text) && text.length <= lengthMax) return text;
    throw new InvalidArgumentError(`It takes 1 to ${lengthMax} characters, none of them a control character.`);
  };
}

function parseScopes(text: string): Scope[] {
  return text.split(",").map((name) => {
    const scope = SCOPES.find((known) => known === name.trim());
    if (scope === undefined)
      throw new InvalidArgumentError(`There is no scope ${name}; there are ${SCOPES.join(", ")}.`);
    return scope;
  });
}

/** Keys are the same in every cell. */
async function connect<Result>(work: (database: Database) => Promise<Result>): Promise<[Result, ...Result[]]> {
  return await inEveryCell({ settings: readSettings(process.env), name: "inturn keys", say }, work);
}
