import { userInfo } from "node:os";
import { type Command, InvalidArgumentError, Option } from "commander";
import { isTime } from "../domain/duration.ts";
import { APPEND_EVENTS_MAX } from "../domain/event.ts";

/** An option that takes a whole number within limits. */
export function wholeNumberOption(
  flags: string,
  description: string,
  limits: { least: number; most: number; default?: number },
): Option {
  const option = new Option(flags, description).argParser((text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= limits.least && value <= limits.most) return value;
    throw new InvalidArgumentError(`It takes a whole number from ${limits.least} to ${limits.most}.`);
  });
  return limits.default === undefined ? option : option.default(limits.default);
}

/** `--json`: data for scripts. */
export function jsonOption(): Option {
  return new Option("--json", "print one JSON object to standard output");
}

/** What the flags of {@link addWorkloadOptions} say. */
export interface WorkloadFlags {
  readonly events: number;
  readonly accounts: number;
  readonly seed: number;
  readonly connections: number;
  readonly batch: number;
}

/** The flags of every command that sends a workload. */
export function addWorkloadOptions(command: Command, defaults: { batch: number }): Command {
  return command
    .addOption(
      wholeNumberOption("--events <number>", "how many events", { least: 1, most: 10_000_000, default: 10_000 }),
    )
    .addOption(
      wholeNumberOption("--accounts <number>", "over how many accounts", { least: 1, most: 1_000_000, default: 1_000 }),
    )
    .addOption(
      wholeNumberOption("--seed <number>", "of the random choice of accounts", {
        least: 0,
        most: 2 ** 31 - 1,
        default: 42,
      }),
    )
    .addOption(wholeNumberOption("--connections <number>", "HTTP connections", { least: 1, most: 500, default: 4 }))
    .addOption(
      wholeNumberOption("--batch <events>", "events per request; 1 sends single events", {
        least: 1,
        most: APPEND_EVENTS_MAX,
        default: defaults.batch,
      }),
    );
}

/** Who runs the command. A container may run us under a number that has no name. */
export function currentUser(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.()}`;
  }
}

/** A seq, or the number of an operation. */
export function parseFromOne(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It takes a whole number from 1.");
}

/** A time with its zone. */
export function parseTime(text: string): string {
  if (isTime(text)) return text;
  throw new InvalidArgumentError("It takes a time with its zone, such as 2026-05-01T18:00:00Z.");
}
