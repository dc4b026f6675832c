#!/usr/bin/env node
/**
 * The command line. Exit codes: 0 good, 1 failed, 2 bad usage.
 */
import { Command, CommanderError } from "commander";
import { InturnError } from "../errors/error.ts";
import { createDemoCommand } from "./demo.ts";
import { createLoadCommand } from "./load.ts";
import { createMigrateCommand } from "./migrate.ts";
import { say } from "./output.ts";
import { createServeCommand } from "./serve.ts";
import { createStartCommand } from "./start.ts";
import { createVerifyCommand } from "./verify.ts";
import { createWorkCommand } from "./work.ts";

const EXIT_FAILED = 1;
const EXIT_BAD_USAGE = 2;

const COMMANDS = [
  createDemoCommand,
  createStartCommand,
  createServeCommand,
  createWorkCommand,
  createMigrateCommand,
  createLoadCommand,
  createVerifyCommand,
];

/** The whole program; its commands end the process only by returning or throwing. */
export function createProgram(): Command {
  const program = new Command("inturn")
    .description(
      "Events in over HTTP, kept in PostgreSQL, each account's events handled strictly in the order they arrived.",
    )
    .showHelpAfterError("(--help lists what there is)");
  for (const createCommand of COMMANDS) program.addCommand(createCommand());
  for (const command of [program, ...program.commands]) command.exitOverride();
  return program;
}

async function main(): Promise<void> {
  try {
    await createProgram().parseAsync();
  } catch (error) {
    process.exitCode = report(error);
  }
}

/** Tells what went wrong and returns the exit code. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_BAD_USAGE;
  if (error instanceof InturnError) {
    say(`inturn: ${error.message} [${error.code}]`);
    return error.code === "settings_invalid" ? EXIT_BAD_USAGE : EXIT_FAILED;
  }
  say(`inturn: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return EXIT_FAILED;
}

if (import.meta.main) await main();
