/**
 * The program: every command with its flags. main.ts runs it; tests and docs read it. A command loads what it runs when it runs:
 * `--help`, and every other command, would load it as well.
 */
import { Command } from "commander";
import { createAccountsCommand } from "./accounts.ts";
import { createDemoCommand } from "./demo.ts";
import { createKeysCommand } from "./keys.ts";
import { createLoadCommand } from "./load.ts";
import { createMigrateCommand } from "./migrate.ts";
import { createOperatorCommands } from "./operate.ts";
import { createPruneCommand } from "./prune.ts";
import { createServeCommand } from "./serve.ts";
import { createSourcesCommand } from "./sources.ts";
import { createStartCommand } from "./start.ts";
import { createStatusCommand } from "./status.ts";
import { createVerifyCommand } from "./verify.ts";
import { createWorkCommand } from "./work.ts";

const COMMANDS = [
  createDemoCommand,
  createStartCommand,
  createServeCommand,
  createWorkCommand,
  createMigrateCommand,
  createLoadCommand,
  createVerifyCommand,
  createStatusCommand,
  createAccountsCommand,
  createPruneCommand,
  createKeysCommand,
  createSourcesCommand,
];

/** The whole program; its commands end the process only by returning or throwing. */
export function createProgram(): Command {
  const program = new Command("inturn")
    .description(
      "Events in over HTTP, kept in PostgreSQL, each account's events handled strictly in the order they arrived.",
    )
    .showHelpAfterError("(--help lists what there is)");
  for (const createCommand of COMMANDS) program.addCommand(createCommand());
  for (const command of createOperatorCommands()) program.addCommand(command);
  for (const each of [program, ...program.commands.flatMap((command) => [command, ...command.commands])]) {
    each.exitOverride();
  }
  return program;
}
