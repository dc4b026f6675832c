/**
 * The program: every command. main.ts runs it; tests and docs read it. Only the command that is run is loaded: `--help`, and
 * every command, would wait for all of them.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";

/** A command by its name, before it is loaded. */
interface ListedCommand {
  readonly name: string;
  readonly description: string;
  /** Loads what it needs and returns it with its flags. */
  readonly load: () => Promise<Command>;
}

const COMMANDS: readonly ListedCommand[] = [
  {
    name: "demo",
    description: "send events over HTTP, handle them in order with several worker processes, and verify the result",
    load: async () => (await import("./demo.ts")).createDemoCommand(),
  },
  {
    name: "start",
    description: "all in one: migrate the database, run the API and the workers, each as a process of its own",
    load: async () => (await import("./start.ts")).createStartCommand(),
  },
  {
    name: "serve",
    description: "run the HTTP API",
    load: async () => (await import("./serve.ts")).createServeCommand(),
  },
  {
    name: "work",
    description: "run a worker: it handles the events of many accounts, each in order",
    load: async () => (await import("./work.ts")).createWorkCommand(),
  },
  {
    name: "url",
    description: "print the database's address, with its password: for psql and other tools",
    load: async () => (await import("./url.ts")).createUrlCommand(),
  },
  {
    name: "psql",
    description: "open psql on the database",
    load: async () => (await import("./url.ts")).createPsqlCommand(),
  },
  {
    name: "migrate",
    description: "bring the database to this version: our tables, functions and views, and graphile-worker's schema",
    load: async () => (await import("./migrate.ts")).createMigrateCommand(),
  },
  {
    name: "doctor",
    description: "look for what is wrong with the database, and say what to do; exit 1 if there is a problem",
    load: async () => (await import("./doctor.ts")).createDoctorCommand(),
  },
  {
    name: "health",
    description: "ask the API, or a worker, on this machine whether it is ready; exit 1 if it is not",
    load: async () => (await import("./health.ts")).createHealthCommand(),
  },
  {
    name: "roles",
    description: "print the SQL of roles that may do no more than they need; --apply runs it",
    load: async () => (await import("./roles.ts")).createRolesCommand(),
  },
  {
    name: "cells",
    description: "make several databases share the accounts, and list them",
    load: async () => (await import("./cells.ts")).createCellsCommand(),
  },
  {
    name: "load",
    description: "send events of random accounts to a running API; each carries its number within its account",
    load: async () => (await import("./load.ts")).createLoadCommand(),
  },
  {
    name: "verify",
    description: "check everything stored for loss, gaps, overlap and disorder; exit 1 if there is any",
    load: async () => (await import("./verify.ts")).createVerifyCommand(),
  },
  {
    name: "status",
    description: "show how much comes in and goes out, what waits, which accounts need a person, and the workers",
    load: async () => (await import("./status.ts")).createStatusCommand(),
  },
  {
    name: "accounts",
    description: "list accounts, those in trouble first",
    load: async () => (await import("./accounts.ts")).createAccountsCommand(),
  },
  {
    name: "events",
    description: "find events by id, type, error, state or time",
    load: async () => (await import("./events.ts")).createEventsCommand(),
  },
  {
    name: "prune",
    description: "delete events that were settled long ago, and forget their ids; dead letters stay",
    load: async () => (await import("./prune.ts")).createPruneCommand(),
  },
  {
    name: "erase",
    description: "remove everything of an account for ever, events that wait as well",
    load: async () => (await import("./erase.ts")).createEraseCommand(),
  },
  {
    name: "keys",
    description: "create, list and revoke API keys",
    load: async () => (await import("./keys.ts")).createKeysCommand(),
  },
  {
    name: "sources",
    description: "create, list, rotate and remove the sources of signed webhooks",
    load: async () => (await import("./sources.ts")).createSourcesCommand(),
  },
  {
    name: "operation",
    description: "list, show and cancel what is being done to many accounts",
    load: async () => (await import("./operation.ts")).createOperationCommand(),
  },
  {
    name: "target",
    description: "list the outside systems that are away; open and close them by hand",
    load: async () => (await import("./target.ts")).createTargetCommand(),
  },
  {
    name: "pause",
    description: "let nobody start an event of this account until it is resumed; waits for the event in hand",
    load: async () => (await import("./operate.ts")).createOperatorCommand("pause"),
  },
  {
    name: "resume",
    description: "end a pause",
    load: async () => (await import("./operate.ts")).createOperatorCommand("resume"),
  },
  {
    name: "retry",
    description: "try the account's first waiting event again now, with all its attempts if it was blocked",
    load: async () => (await import("./operate.ts")).createOperatorCommand("retry"),
  },
  {
    name: "skip",
    description: "leave the account's first waiting event out and go on with the next one",
    load: async () => (await import("./operate.ts")).createOperatorCommand("skip"),
  },
  {
    name: "redrive",
    description: "handle a dead letter again at its own seq, as long as no later event was started",
    load: async () => (await import("./operate.ts")).createOperatorCommand("redrive"),
  },
  {
    name: "replay",
    description: "handle every event of the account again from this seq on",
    load: async () => (await import("./operate.ts")).createOperatorCommand("replay"),
  },
  {
    name: "completion",
    description: "print a script that completes commands and flags in bash, zsh or fish",
    load: async () => (await import("./completion.ts")).createCompletionCommand(),
  },
];

/**
 * The whole program; its commands end the process only by returning or throwing.
 *
 * @param wanted the arguments of the command line: only the command that they name has its flags. All have them by default
 */
export async function createProgram(wanted?: readonly string[]): Promise<Command> {
  const program = new Command("inturn")
    .description(
      "Events in over HTTP, kept in PostgreSQL, each account's events handled strictly in the order they arrived.",
    )
    .version(readVersion())
    .showHelpAfterError("(--help lists what there is)");
  for (const { name, description, load } of COMMANDS) {
    const isLoaded = wanted === undefined || wanted.includes(name);
    program.addCommand((isLoaded ? await load() : new Command(name)).description(description));
  }
  for (const each of [program, ...program.commands.flatMap((command) => [command, ...command.commands])]) {
    each.exitOverride();
  }
  return program;
}

/** The package's version. The file lies beside the sources and beside the built program. */
function readVersion(): string {
  const text = readFileSync(join(import.meta.dirname, "..", "..", "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
