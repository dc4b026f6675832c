import { Command } from "commander";
import { listTargetStatus, operateTarget, type TargetStatus } from "../db/target-status.ts";
import { formatDuration } from "../domain/duration.ts";
import type { TargetVerb } from "../domain/target.ts";
import { printEachCell } from "./each-cell.ts";
import { currentUser, jsonOption, parseTime } from "./options.ts";
import { formatNumber, oneLine, print, printTable } from "./output.ts";

/** More are not listed. */
const TARGETS_MAX = 1_000;

interface TargetFlags {
  readonly who?: string;
  readonly why?: string;
  readonly until?: string;
  readonly json?: boolean;
}

/** `target`: the outside systems that handlers need, and their circuit breakers. */
export function createTargetCommand(): Command {
  const open = createVerbCommand("open", "let no event of this target start until it is closed").option(
    "--until <time>",
    "try it again then, with one event: a time such as 2026-05-01T18:00:00Z",
    parseTime,
  );
  return new Command("target")
    .addCommand(
      new Command("list")
        .description("list the targets that are away, and those that accounts still wait for")
        .addOption(jsonOption())
        .action(async ({ json }: TargetFlags) => {
          await printEachCell({
            name: "inturn target",
            json,
            work: (database) => listTargetStatus(database, TARGETS_MAX),
            tell: (targets, where) => {
              if (targets.length === 0) return print(`No target is away${where}.`);
              if (where !== "") print(`Away${where}:`);
              printTargets(targets);
            },
          });
        }),
    )
    .addCommand(open)
    .addCommand(createVerbCommand("close", "let its events start again, little by little"));
}

/** The targets as a table. */
export function printTargets(targets: readonly TargetStatus[]): void {
  printTable(
    ["TARGET", "STATE", "AWAY FOR", "ACCOUNTS", "EVENTS", "NEXT TRY", "REASON"],
    targets.map((target) => [
      oneLine(target.target),
      target.state,
      target.awaySeconds === null ? "–" : formatDuration(target.awaySeconds * 1_000),
      formatNumber(target.waitingAccounts),
      formatNumber(target.waitingEvents),
      nextTryOf(target),
      oneLine(target.reason ?? ""),
    ]),
  );
}

function nextTryOf({ state, nextProbeSeconds, byHand }: TargetStatus): string {
  if (state === "half-open") return "now";
  if (nextProbeSeconds !== null) return `in ${formatDuration(Math.max(0, nextProbeSeconds * 1_000))}`;
  return byHand ? "when a person closes it" : "–";
}

function createVerbCommand(verb: TargetVerb, description: string): Command {
  return new Command(verb)
    .description(description)
    .argument("<target>", "the target's name, as the handler module's eventTypes has it")
    .option("--why <reason>", "why; it is recorded")
    .option("--who <name>", "who; it is recorded (the name of the user who runs the command)")
    .addOption(jsonOption())
    .action(async (target: string, flags: TargetFlags) => {
      const { who = currentUser(), why, until, json } = flags;
      await printEachCell({
        name: "inturn target",
        json,
        work: async (database) => ({
          target,
          verb,
          ...(await operateTarget(database, { verb, target, who, why, until })),
        }),
        tell: ({ state, accounts }, where) =>
          print(`${verb}: target ${target} is ${state}${where}; accounts that wait for it: ${formatNumber(accounts)}`),
      });
    });
}
