import { setTimeout as sleep } from "node:timers/promises";
import { Command } from "commander";
import { readSettings } from "../config/settings.ts";
import { OLD_SNAPSHOT_SECONDS, readPulse } from "../db/pulse.ts";
import { SHOWN_STATES } from "../db/urgent-accounts.ts";
import { formatDuration } from "../domain/duration.ts";
import { withConnection } from "../service/connection.ts";
import { readStatus, type Status } from "../service/status.ts";
import { jsonOption } from "./options.ts";
import { formatNumber, oneLine, print, printFacts, printTable, say } from "./output.ts";
import { printPauses } from "./pause.ts";
import { listenForStop } from "./stop.ts";
import { printTargets } from "./target.ts";

/** Between two readings: rates need two. */
const INTERVAL_MS = 1_000;

/** Clears a terminal, and starts at its top. */
const CLEAR = "\u001b[H\u001b[J";

/** `status`: the overview in a terminal. */
export function createStatusCommand(): Command {
  return new Command("status")
    .option("--watch", "show it anew every second, until Ctrl-C")
    .addOption(jsonOption())
    .action(async (flags: { watch?: boolean; json?: boolean }) => {
      const settings = readSettings(process.env);
      const stop = listenForStop();
      await withConnection({ settings, name: "inturn status", say }, async (database) => {
        for (let before = await readPulse(database); ; ) {
          await sleep(INTERVAL_MS, undefined, { signal: stop }).catch(() => undefined);
          if (stop.aborted) return;
          const status = await readStatus(database, before);
          if (flags.json === true) print(JSON.stringify(status));
          else printStatus(status, flags.watch === true && process.stdout.isTTY === true);
          if (flags.watch !== true) return;
          before = status;
        }
      });
    });
}

function printStatus(status: Status, isRedrawn: boolean): void {
  const { waitMs, oldestPendingSeconds, orderViolations, attention, workers } = status;
  if (isRedrawn) process.stdout.write(CLEAR);
  printFacts([
    ["received", `${formatNumber(status.receivedPerSecond)}/s, ${formatNumber(status.received)} ever`],
    ["settled", `${formatNumber(status.settledPerSecond)}/s`],
    ["backlog", `${formatNumber(status.backlog)} events`],
    ["oldest pending", oldestPendingSeconds === null ? "none" : formatDuration(oldestPendingSeconds * 1_000)],
    ["wait", waitMs === null ? "–" : `p50 ${formatDuration(waitMs.p50)}, p95 ${formatDuration(waitMs.p95)}`],
    ["accounts", SHOWN_STATES.map((state) => `${formatNumber(status.accounts[state])} ${state}`).join(", ")],
    ["order", orderViolations === 0 ? "kept" : `BROKEN ${formatNumber(orderViolations)} times; see: verify`],
  ]);
  if (status.oldestSnapshotSeconds > OLD_SNAPSHOT_SECONDS) {
    const age = formatDuration(status.oldestSnapshotSeconds * 1_000);
    print(
      `\nA session has kept a snapshot for ${age}: events cost more and more until it ends. docs/metrics.md names it.`,
    );
  }
  if (status.pauses.length > 0) {
    print("");
    printPauses(status.pauses);
  }
  if (status.targets.length > 0) {
    print("");
    printTargets(status.targets);
  }
  if (attention.length > 0) {
    print("");
    printTable(
      ["NEEDS ATTENTION", "STATE", "SINCE", "PENDING", "ATTEMPTS", "ERROR"],
      attention.map(({ accountId, state, since, pending, attempts, error }) => [
        oneLine(accountId),
        state,
        since.slice(0, 19),
        formatNumber(pending),
        String(attempts),
        oneLine(error ?? ""),
      ]),
    );
  }
  print("");
  if (workers.length === 0) return print("No worker is running.");
  printTable(
    ["WORKER", "HOST", "PID", "IN HAND", "LAST SIGN OF LIFE"],
    workers.map(({ id, host, pid, inHand, concurrency, renewedSecondsAgo, leaseSecondsLeft }) => [
      id.slice(0, 8),
      host,
      String(pid),
      `${formatNumber(inHand)} of ${formatNumber(concurrency)}`,
      `${formatDuration(renewedSecondsAgo * 1_000)} ago${leaseSecondsLeft > 0 ? "" : ", lease run out"}`,
    ]),
  );
}
