/**
 * What an operator does to many accounts at once: which accounts a verb is for.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Command, InvalidArgumentError } from "commander";
import {
  type BegunOperation,
  type BulkOperation,
  beginOperation,
  type OperationStatus,
  requireOperation,
} from "../db/bulk-operations.ts";
import type { Database } from "../db/pool.ts";
import { SHOWN_STATES } from "../db/urgent-accounts.ts";
import type { ShownState } from "../domain/account.ts";
import {
  type BulkVerb,
  OPERATION_ACCOUNTS_MAX,
  OPERATION_RATE_MAX,
  type OperationFilter,
} from "../domain/operation.ts";
import { printEachCell } from "./each-cell.ts";
import { parseTime, wholeNumberOption } from "./options.ts";
import { formatNumber, print, say } from "./output.ts";
import { createProgress } from "./progress.ts";
import { listenForStop } from "./stop.ts";

/** Between two looks at how far an operation is. */
const LOOK_MS = 250;

/** The flags that choose accounts. */
export interface BulkFlags {
  readonly all?: boolean;
  readonly state?: readonly ShownState[];
  readonly prefix?: string;
  readonly type?: string;
  readonly error?: string;
  readonly blockedBefore?: string;
  readonly settledSince?: string;
  readonly limit?: number;
  readonly rate?: number;
  readonly dryRun?: boolean;
  readonly detach?: boolean;
}

/** Adds the flags that choose accounts instead of naming one. */
export function addBulkOptions(command: Command, verb: BulkVerb): Command {
  const isWhole = verb === "pause" || verb === "resume";
  return command
    .option(
      "--all",
      isWhole ? "everything, also accounts that come later" : "every account that the verb can do something for",
    )
    .option(
      "--state <states>",
      `accounts in these states, separated by commas: ${SHOWN_STATES.join(", ")}`,
      parseStates,
    )
    .option(
      "--prefix <text>",
      `accounts whose id begins with this${isWhole ? "; alone, also those that come later" : ""}`,
    )
    .option(
      "--type <type>",
      `whose head, or dead letter, is of this type; a * at its end stands for any end${isWhole ? "; alone, every event of the type" : ""}`,
    )
    .option("--error <text>", "whose error has this text in it, in capitals or not")
    .option(
      "--blocked-before <time>",
      "that have been in their state since before, such as 2026-05-01T18:00:00Z",
      parseTime,
    )
    .addOption(
      wholeNumberOption("--limit <accounts>", "not more than these, by id", { least: 1, most: OPERATION_ACCOUNTS_MAX }),
    )
    .addOption(
      wholeNumberOption(
        "--rate <number>",
        isWhole
          ? "not more than these accounts, or, of a whole, events, in a second"
          : "not more than these accounts in a second",
        { least: 1, most: OPERATION_RATE_MAX },
      ),
    )
    .option("--dry-run", "only count what matches")
    .option("--detach", "do not wait for its end");
}

/** What the flags ask for; undefined when they choose no accounts. */
export function filterOf(flags: BulkFlags): OperationFilter | undefined {
  const { all, state: states, prefix, type, error, blockedBefore, settledSince, limit } = flags;
  const filter = { states, prefix, type, error, blockedBefore, settledSince, limit };
  return all === true || Object.values(filter).some((value) => value !== undefined) ? filter : undefined;
}

/** Begins an operation, in every cell, and, unless told otherwise, waits for its end. */
export async function runBulk(operation: BulkOperation, flags: BulkFlags & { readonly json?: boolean }): Promise<void> {
  const stop = listenForStop();
  const progress = createProgress("done");
  const states = new Map<string, OperationStatus>();
  const sum = (read: (status: OperationStatus) => number) =>
    [...states.values()].reduce((so, status) => so + read(status), 0);
  try {
    await printEachCell<OperationStatus | (BegunOperation & { verb: BulkVerb })>({
      name: "inturn operator",
      json: flags.json,
      work: async (database, where) => {
        const begun = await beginOperation(database, operation);
        const { id, matched } = begun;
        if (id === null || flags.detach === true) return { verb: operation.verb, ...begun };
        say(
          `operation ${id}${where}: ${formatNumber(matched)} match; workers carry it out. Ctrl-C ends the wait, not the operation`,
        );
        return await untilEnded(database, { id, stop }, (status) => {
          states.set(where, status);
          progress.update(
            sum(({ tried }) => tried),
            sum((each) => each.matched),
          );
        });
      },
      tell: (result, where) => {
        progress.stop();
        print("state" in result ? describe(result, where) : describeBegun(result, where));
      },
    });
  } finally {
    progress.stop();
  }
}

async function untilEnded(
  database: Database,
  { id, stop }: { id: number; stop: AbortSignal },
  onStatus: (status: OperationStatus) => void,
): Promise<OperationStatus> {
  for (;;) {
    const status = await requireOperation(database, id);
    onStatus(status);
    if (status.state !== "running") return status;
    if (stop.aborted) {
      say(`operation ${id} goes on; inturn operation show ${id} says how far it is`);
      return status;
    }
    await sleep(LOOK_MS, undefined, { signal: stop }).catch(() => undefined);
  }
}

function describeBegun({ id, verb, matched }: BegunOperation & { verb: BulkVerb }, where: string): string {
  const match = `${formatNumber(matched)} match${where}`;
  return id === null ? `${verb}: ${match}; nothing was changed` : `${verb}: operation ${id}, ${match}`;
}

/** An operation in one line. */
export function describe({ id, verb, state, matched, done, leftOut }: OperationStatus, where = ""): string {
  const left = Object.entries(leftOut ?? {}).map(([code, accounts]) => `${formatNumber(accounts)} ${code}`);
  const rest = left.length === 0 ? "" : `; left out: ${left.join(", ")}`;
  return `operation ${id}${where}, ${verb}: ${state}, ${formatNumber(done)} of ${formatNumber(matched)} done${rest}`;
}

function parseStates(text: string): ShownState[] {
  return text.split(",").map((name) => {
    const state = SHOWN_STATES.find((known) => known === name.trim());
    if (state === undefined)
      throw new InvalidArgumentError(`There is no state ${name}; there are ${SHOWN_STATES.join(", ")}.`);
    return state;
  });
}
