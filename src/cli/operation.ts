import { Argument, Command } from "commander";
import { readSettings } from "../config/settings.ts";
import { cancelOperation, listBulkOperations, type OperationStatus, requireOperation } from "../db/bulk-operations.ts";
import type { Database } from "../db/pool.ts";
import { InturnError } from "../errors/error.ts";
import { withConnection } from "../service/connection.ts";
import { describe } from "./bulk.ts";
import { printEachCell } from "./each-cell.ts";
import { currentUser, jsonOption, parseFromOne } from "./options.ts";
import { print, say } from "./output.ts";

/** The last ones are listed. */
const LISTED_MAX = 20;

interface OperationFlags {
  readonly who?: string;
  readonly why?: string;
  readonly json?: boolean;
}

/** `operation`: the verbs that are being carried out on many accounts. */
export function createOperationCommand(): Command {
  return new Command("operation")
    .addCommand(
      new Command("list")
        .description("list the last operations")
        .addOption(jsonOption())
        .action(async ({ json }: OperationFlags) => {
          await printEachCell({
            name: "inturn operation",
            json,
            work: (database) => listBulkOperations(database, LISTED_MAX),
            tell: (operations, where) => {
              if (operations.length === 0) return print(`There is no operation${where}.`);
              for (const operation of operations) print(describe(operation, where));
            },
          });
        }),
    )
    .addCommand(
      new Command("show")
        .description("say how far an operation is")
        .addArgument(idArgument())
        .addOption(jsonOption())
        .action(async (id: number, flags: OperationFlags) => {
          tell(await connect((database) => requireOperation(database, id)), flags);
        }),
    )
    .addCommand(
      new Command("cancel")
        .description("end an operation; what is done stays")
        .addArgument(idArgument())
        .option("--why <reason>", "why; it is recorded")
        .option("--who <name>", "who; it is recorded (the name of the user who runs the command)")
        .addOption(jsonOption())
        .action(async (id: number, flags: OperationFlags) => {
          const { who = currentUser(), why } = flags;
          await connect(async (database) => {
            await requireOperation(database, id);
            if (!(await cancelOperation(database, { id, who, why })))
              throw new InturnError("operation_ended", `Operation ${id} has ended already.`);
            tell(await requireOperation(database, id), flags);
          });
        }),
    );
}

function idArgument(): Argument {
  return new Argument("<id>", "the operation's id").argParser(parseFromOne);
}

function tell(status: OperationStatus, { json }: OperationFlags): void {
  print(json === true ? JSON.stringify(status) : describe(status));
}

async function connect<Result>(work: (database: Database) => Promise<Result>): Promise<Result> {
  return await withConnection({ settings: readSettings(process.env), name: "inturn operation", say }, work);
}
