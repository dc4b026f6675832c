/**
 * `pause` and `resume` of everything, of a type, of an id prefix.
 */
import { endPause, listPauses, type PauseStatus } from "../db/pauses.ts";
import { formatDuration } from "../domain/duration.ts";
import { type Covered, nameOf } from "../domain/pause.ts";
import { beginPause } from "../engine/pause.ts";
import type { BulkFlags } from "./bulk.ts";
import { printEachCell } from "./each-cell.ts";
import { currentUser } from "./options.ts";
import { formatNumber, oneLine, print, printTable, say } from "./output.ts";

/** The flags of a pause. */
export interface PauseFlags extends BulkFlags {
  readonly until?: string;
  readonly who?: string;
  readonly why?: string;
  readonly json?: boolean;
}

/** What the flags name as a whole, with accounts that come later; undefined when they choose among the accounts that there are. */
export function coveredOf(flags: BulkFlags): Covered | undefined {
  const { all, type, prefix, state, error, blockedBefore, limit, dryRun } = flags;
  if ([state, error, blockedBefore, limit].some((choice) => choice !== undefined) || dryRun === true) return undefined;
  const named: Covered[] = [];
  if (all === true) named.push({ covers: "all", value: "" });
  if (type !== undefined) named.push({ covers: "type", value: type });
  if (prefix !== undefined) named.push({ covers: "prefix", value: prefix });
  return named.length === 1 ? named[0] : undefined;
}

/** Begins a pause, in every cell; says which workers have not answered. */
export async function runPause(covered: Covered, { who = currentUser(), why, until, json }: PauseFlags): Promise<void> {
  await printEachCell({
    name: "inturn operator",
    json,
    work: async (database) => ({ ...covered, ...(await beginPause(database, { ...covered, until, who, why })) }),
    tell: (begun, where) => {
      const inHand = begun.inHand === 0 ? "" : `; still in hand: ${formatNumber(begun.inHand)} events`;
      print(`pause: ${nameOf(covered)} is paused${where}${inHand}`);
      for (const { workerId, host, pid } of begun.unconfirmed) {
        say(`worker ${workerId.slice(0, 8)} (${host}, pid ${pid}) has not answered: it may still start events`);
      }
    },
  });
}

/** Ends a pause, in every cell. */
export async function runResume(covered: Covered, { who = currentUser(), why, rate, json }: PauseFlags): Promise<void> {
  const pace = rate === undefined ? "goes on" : `goes on with ${formatNumber(rate)} events a second`;
  await printEachCell({
    name: "inturn operator",
    json,
    work: async (database) => ({ ...covered, ...(await endPause(database, { ...covered, rate, who, why })) }),
    tell: ({ accounts }, where) =>
      print(`resume: ${nameOf(covered)} ${pace}${where}; accounts that rested: ${formatNumber(accounts)}`),
  });
}

/** Lists the pauses, of every cell. */
export async function runListPauses(json: boolean): Promise<void> {
  await printEachCell({
    name: "inturn operator",
    json,
    work: listPauses,
    tell: (pauses, where) => {
      if (pauses.length === 0) return print(`Nothing is paused${where} but, perhaps, accounts one by one.`);
      if (where !== "") print(`Paused${where}:`);
      printPauses(pauses);
    },
  });
}

/** The pauses as a table. */
export function printPauses(pauses: readonly PauseStatus[]): void {
  printTable(
    ["PAUSED", "FOR", "ACCOUNTS", "EVENTS", "ENDS", "BY", "WHY"],
    pauses.map((pause) => [
      oneLine(nameOf(pause)),
      formatDuration(pause.pausedSeconds * 1_000),
      formatNumber(pause.accounts),
      formatNumber(pause.events),
      pause.rate === null
        ? (pause.until?.slice(0, 19) ?? "when resumed")
        : `${formatNumber(pause.rate)} events/s start`,
      oneLine(pause.who),
      oneLine(pause.why ?? ""),
    ]),
  );
}
