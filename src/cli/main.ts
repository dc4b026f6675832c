#!/usr/bin/env node
/**
 * The command line. Exit codes: 0 good, 1 failed, 2 bad usage.
 */
import { CommanderError } from "commander";
import { isForbidden, isUnavailable } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import { textOf } from "../errors/text.ts";
import { say } from "./output.ts";
import { createProgram } from "./program.ts";
import { hearSignals } from "./stop.ts";

const EXIT_FAILED = 1;
const EXIT_BAD_USAGE = 2;

async function main(): Promise<void> {
  hearSignals();
  refuseOldNode();
  // A reader that went away (`| head`, a closed terminal) is no reason to drop what is in hand.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
  try {
    const program = await createProgram(process.argv.slice(2));
    await program.parseAsync();
  } catch (error) {
    process.exitCode = report(error);
  }
  // A handler may have left things open, a pool or a timer: they must not keep a worker alive that has stopped or failed.
  process.exit();
}

/** An old Node fails somewhere in the middle, with a stack. */
function refuseOldNode(): void {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > 22 || (major === 22 && minor >= 18)) return;
  say(`inturn: Node 22.18 or later is needed; this is ${process.versions.node}`);
  process.exit(EXIT_FAILED);
}

/** Tells what went wrong and returns the exit code. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_BAD_USAGE;
  if (error instanceof InturnError) {
    say(`inturn: ${error.message} [${error.code}]`);
    return error.code === "settings_invalid" ? EXIT_BAD_USAGE : EXIT_FAILED;
  }
  if (error instanceof Error && error.name === "AbortError") {
    say("inturn: stopped before it was done");
    return EXIT_FAILED;
  }
  if (error instanceof Error && isForbidden(error)) {
    say(`inturn: The role of this process may not do this in the database: ${error.message} [role_not_permitted]`);
    return EXIT_FAILED;
  }
  if (isUnavailable(error)) {
    say(`inturn: The database could not do what was asked: ${textOf(error)} [database_unavailable]`);
    return EXIT_FAILED;
  }
  say(`inturn: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return EXIT_FAILED;
}

await main();
