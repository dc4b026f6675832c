import { Command } from "commander";
import { readSettings } from "../config/settings.ts";
import { eraseAccount } from "../db/operate.ts";
import { findAccount } from "../db/results.ts";
import { InturnError } from "../errors/error.ts";
import { withConnectionOf } from "../service/connection.ts";
import { jsonOption } from "./options.ts";
import { formatNumber, print, say } from "./output.ts";

/** An account may have millions of events, which go in one transaction. */
const STATEMENT_MS_MAX = 600_000;

/** `erase`: as if the account had never been. */
export function createEraseCommand(): Command {
  return new Command("erase")
    .argument("<account>", "its id")
    .option("--yes", "do it; without this flag the command only says what would go")
    .addOption(jsonOption())
    .action(async (accountId: string, { yes = false, json = false }: { yes?: boolean; json?: boolean }) => {
      const options = { settings: readSettings(process.env), name: "inturn erase", say };
      const events = await withConnectionOf(
        accountId,
        { ...options, statementMsMax: STATEMENT_MS_MAX },
        async (database) => {
          if (yes) return await eraseAccount(database, accountId);
          const account = await findAccount(database, accountId);
          if (account !== undefined) return account.events;
          throw new InturnError(
            "account_not_found",
            `There is no account ${JSON.stringify(accountId)}: it never had an event.`,
          );
        },
      );
      if (json) return print(JSON.stringify({ accountId, events, erased: yes }));
      print(
        yes
          ? `Account ${accountId} is gone. Events: ${formatNumber(events)}.`
          : `Account ${accountId} has ${formatNumber(events)} ${events === 1 ? "event" : "events"}. To remove all of it for ever, add --yes.`,
      );
    });
}
