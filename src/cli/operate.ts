import { Argument, Command } from "commander";
import { readSettings } from "../config/settings.ts";
import type { Verb } from "../domain/account.ts";
import { BULK_VERBS } from "../domain/operation.ts";
import { carryOutVerb } from "../engine/operate.ts";
import { InturnError } from "../errors/error.ts";
import { withConnectionOf } from "../service/connection.ts";
import { addBulkOptions, filterOf, runBulk } from "./bulk.ts";
import { currentUser, jsonOption, parseFromOne, parseTime } from "./options.ts";
import { print, say } from "./output.ts";
import { coveredOf, type PauseFlags, runListPauses, runPause, runResume } from "./pause.ts";

interface OperatorFlags extends PauseFlags {
  readonly force?: boolean;
  readonly list?: boolean;
}

/** `pause`, `resume`, `retry`, `skip`, `redrive`, `replay`: what an operator may do with an account, or with all that match. */
export function createOperatorCommand(verb: Verb): Command {
  const bulk = BULK_VERBS.find((known) => known === verb);
  const command = new Command(verb)
    .argument(bulk === undefined ? "<account>" : "[account]", "the account's id")
    .option("--why <reason>", "why; it is recorded")
    .option("--who <name>", "who; it is recorded (the name of the user who runs the command)")
    .addOption(jsonOption());
  if (bulk !== undefined) addBulkOptions(command, bulk);
  if (verb === "pause") {
    command.option(
      "--until <time>",
      "with --all, --type or --prefix: end it then, such as 2026-05-01T18:00:00Z",
      parseTime,
    );
    command.option("--list", "list what is paused as a whole");
  }
  if (verb === "replay") {
    command.option("--settled-since <time>", "from the first event on that was settled then or later", parseTime);
  }
  if (verb === "redrive") command.option("--force", "append a copy at the end if later events were started");
  const takesSeq = verb === "redrive" || verb === "replay";
  if (takesSeq) {
    const name = bulk === undefined ? "<seq>" : "[seq]";
    command.addArgument(new Argument(name, "the event's seq in the account").argParser(parseFromOne));
  }
  return command.action(async (account: string | undefined, ...rest: unknown[]) => {
    const seq = takesSeq ? (rest[0] as number | undefined) : undefined;
    const flags = rest[takesSeq ? 1 : 0] as OperatorFlags;
    if (flags.list === true) return await runListPauses(flags.json === true);
    const where = filterOf(flags);
    const covered = verb === "pause" || verb === "resume" ? coveredOf(flags) : undefined;
    if (flags.until !== undefined && covered === undefined) throw needsWhole();
    if (covered !== undefined && account === undefined) {
      return await (verb === "pause" ? runPause(covered, flags) : runResume(covered, flags));
    }
    if (account !== undefined && where === undefined && (seq !== undefined || !takesSeq)) {
      return await run({ verb, account, seq, flags });
    }
    if (account !== undefined || where === undefined || bulk === undefined) throw needsAccounts(verb, takesSeq);
    const { who = currentUser(), why, rate, force, dryRun } = flags;
    return await runBulk({ verb: bulk, where, who, why, rate, force, dryRun }, flags);
  });
}

function needsWhole(): InturnError {
  return new InturnError(
    "settings_invalid",
    "--until goes with exactly one of --all, --type and --prefix, and no other choice.",
  );
}

function needsAccounts(verb: Verb, takesSeq: boolean): InturnError {
  const one = takesSeq ? "an account and a seq" : "an account";
  return new InturnError(
    "settings_invalid",
    `${verb} takes either ${one}, or flags that choose accounts (--all, --state, --prefix, …).`,
  );
}

async function run(command: {
  verb: Verb;
  account: string;
  seq: number | undefined;
  flags: OperatorFlags;
}): Promise<void> {
  const { verb, account: accountId, seq, flags } = command;
  const { who = currentUser(), why, force, json } = flags;
  const operation = { verb, accountId, seq, who, why, force };
  const connection = { settings: readSettings(process.env), name: "inturn operator", say };
  const operated = await withConnectionOf(accountId, connection, (database) => carryOutVerb(database, operation));
  if (json === true) print(JSON.stringify({ accountId, verb, ...operated }));
  else print(`${verb}: account ${accountId} is ${operated.state}; event ${operated.seq}`);
}
