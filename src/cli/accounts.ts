import { Command, Option } from "commander";
import { readSettings } from "../config/settings.ts";
import { listUrgentAccounts, SHOWN_STATES, type UrgencySort } from "../db/urgent-accounts.ts";
import type { ShownState } from "../domain/account.ts";
import { formatDuration } from "../domain/duration.ts";
import { withConnection } from "../service/connection.ts";
import { jsonOption, wholeNumberOption } from "./options.ts";
import { formatNumber, oneLine, print, printTable, say } from "./output.ts";

interface Flags {
  readonly state?: ShownState;
  readonly search: string;
  readonly sort: UrgencySort;
  readonly limit: number;
  readonly json?: boolean;
}

/** `accounts`: those in trouble first. */
export function createAccountsCommand(): Command {
  return new Command("accounts")
    .addOption(new Option("--state <state>", "only those in this state").choices(SHOWN_STATES))
    .option("--search <text>", "only those whose id begins with this", "")
    .addOption(
      new Option("--sort <order>", "the most urgent, the most pending events, or the oldest pending event first")
        .choices(["urgency", "pending", "lag"] satisfies UrgencySort[])
        .default("urgency"),
    )
    .addOption(wholeNumberOption("--limit <number>", "how many", { least: 1, most: 10_000, default: 50 }))
    .addOption(jsonOption())
    .action(async ({ state, search: prefix, sort, limit, json }: Flags) => {
      const settings = readSettings(process.env);
      const wanted = { states: state === undefined ? [] : [state], prefix, sort, offset: 0, limit };
      const accounts = await withConnection({ settings, name: "inturn accounts", say }, (database) =>
        listUrgentAccounts(database, wanted),
      );
      if (json === true) return print(JSON.stringify(accounts));
      if (accounts.length === 0) return print("No account matches.");
      printTable(
        ["ACCOUNT", "STATE", "SINCE", "PENDING", "OLDEST", "ATTEMPTS", "DEAD", "EVENTS", "ERROR"],
        accounts.map((account) => [
          oneLine(account.accountId),
          account.state,
          account.since.slice(0, 19),
          formatNumber(account.pending),
          account.oldestPendingSeconds === null ? "–" : formatDuration(account.oldestPendingSeconds * 1_000),
          String(account.attempts),
          formatNumber(account.dead),
          formatNumber(account.events),
          oneLine(account.error ?? ""),
        ]),
      );
    });
}
