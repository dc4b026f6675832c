import { Command } from "commander";
import { readSettings } from "../config/settings.ts";
import { addUp, isKept, type Verification, verify } from "../demo/verify.ts";
import { inEveryCell } from "../service/connection.ts";
import { jsonOption } from "./options.ts";
import { formatNumber, print, printFacts, say } from "./output.ts";

/** `verify`: whether the promise was kept, from the public views alone. */
export function createVerifyCommand(): Command {
  return new Command("verify").addOption(jsonOption()).action(async (flags: { json?: boolean }) => {
    const settings = readSettings(process.env);
    const verification = addUp(await inEveryCell({ settings, name: "inturn verify", say }, verify));
    if (flags.json === true) print(JSON.stringify(verification));
    else printVerification(verification);
    if (!isKept(verification)) process.exitCode = 1;
  });
}

function printVerification(found: Verification): void {
  const zero = (count: number) => (count === 0 ? "none" : formatNumber(count));
  print(isKept(found) ? "Every account is in order." : "The promise was broken:");
  printFacts([
    ["events", `${formatNumber(found.events)} of ${formatNumber(found.accounts)} accounts`],
    ["processed", formatNumber(found.processed)],
    ["pending", zero(found.pending)],
    ["dead letters", zero(found.dead)],
    ["skipped", zero(found.skipped)],
    ["lost", zero(found.lost)],
    ["stored twice", zero(found.duplicates)],
    ["out of order", zero(found.orderViolations)],
    ["overlapping", zero(found.overlaps)],
    ["handed out again", zero(found.redelivered)],
  ]);
  for (const example of found.examples)
    print(`  ${example.kind}: account ${example.accountId}, seq ${example.seq}: ${example.detail}`);
}
