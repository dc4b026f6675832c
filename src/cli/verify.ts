import { Command } from "commander";
import { readSettings } from "../config/settings.ts";
import { openDatabase } from "../db/pool.ts";
import { useDatabase } from "../service/database.ts";
import { isKept, type Verification, verify } from "../service/verify.ts";
import { jsonOption } from "./options.ts";
import { formatNumber, print, printFacts, say } from "./output.ts";

/** `verify`: whether the promise was kept, from the public views alone. */
export function createVerifyCommand(): Command {
  return new Command("verify")
    .description("check everything stored for loss, gaps, overlap and disorder; exit 1 if there is any")
    .addOption(jsonOption())
    .action(async (flags: { json?: boolean }) => {
      const database = await useDatabase({ settings: readSettings(process.env), migrate: false, say });
      const connection = openDatabase({
        url: database.url,
        name: "inturn verify",
        connectionsMax: 1,
        onError: () => undefined,
      });
      try {
        const verification = await verify(connection);
        if (flags.json === true) print(JSON.stringify(verification));
        else printVerification(verification);
        if (!isKept(verification)) process.exitCode = 1;
      } finally {
        await connection.end();
        await database.release();
      }
    });
}

function printVerification(found: Verification): void {
  const zero = (count: number) => (count === 0 ? "none" : formatNumber(count));
  print(isKept(found) ? "Every account is in order." : "The promise was broken:");
  printFacts([
    ["events", `${formatNumber(found.events)} of ${formatNumber(found.accounts)} accounts`],
    ["processed", formatNumber(found.processed)],
    ["pending", zero(found.pending)],
    ["lost", zero(found.lost)],
    ["stored twice", zero(found.duplicates)],
    ["out of order", zero(found.orderViolations)],
    ["overlapping", zero(found.overlaps)],
    ["handed out again", zero(found.redelivered)],
  ]);
  for (const example of found.examples)
    print(`  ${example.kind}: account ${example.accountId}, seq ${example.seq}: ${example.detail}`);
}
