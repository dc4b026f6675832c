import { Argument, Command, InvalidArgumentError } from "commander";
import { readSettings } from "../config/settings.ts";
import type { Verb } from "../domain/account.ts";
import { carryOutVerb } from "../engine/operate.ts";
import { withConnection } from "../service/connection.ts";
import { currentUser, jsonOption } from "./options.ts";
import { print, say } from "./output.ts";

interface OperatorFlags {
  readonly who?: string;
  readonly why?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** `pause`, `resume`, `retry`, `skip`, `redrive`, `replay`: what an operator may do with an account. */
export function createOperatorCommand(verb: Verb): Command {
  const command = new Command(verb)
    .argument("<account>", "the account's id")
    .option("--why <reason>", "why; it is recorded")
    .option("--who <name>", "who; it is recorded (the name of the user who runs the command)")
    .addOption(jsonOption());
  if (verb === "redrive") command.option("--force", "append a copy at the end if later events were started");
  if (verb === "redrive" || verb === "replay") {
    command.addArgument(new Argument("<seq>", "the event's seq in the account").argParser(parseSeq));
    return command.action((account: string, seq: number, flags: OperatorFlags) => run({ verb, account, seq, flags }));
  }
  return command.action((account: string, flags: OperatorFlags) => run({ verb, account, flags }));
}

function parseSeq(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It takes a whole number from 1.");
}

async function run(command: { verb: Verb; account: string; seq?: number; flags: OperatorFlags }): Promise<void> {
  const { verb, account: accountId, seq, flags } = command;
  const { who = currentUser(), why, force, json } = flags;
  const operation = { verb, accountId, seq, who, why, force };
  const connection = { settings: readSettings(process.env), name: "inturn operator", say };
  const operated = await withConnection(connection, (database) => carryOutVerb(database, operation));
  if (json === true) print(JSON.stringify({ accountId, verb, ...operated }));
  else print(`${verb}: account ${accountId} is ${operated.state}; event ${operated.seq}`);
}
