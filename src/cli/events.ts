import { Command, Option } from "commander";
import { readSettings } from "../config/settings.ts";
import { type EventFilter, FIRST_EVENT, type FoundEvent, findEvents } from "../db/find-events.ts";
import { formatDuration } from "../domain/duration.ts";
import { EVENT_STATES } from "../domain/event.ts";
import { withConnection } from "../service/connection.ts";
import { jsonOption, parseTime, wholeNumberOption } from "./options.ts";
import { formatNumber, oneLine, print, printTable, say } from "./output.ts";
import { listenForStop } from "./stop.ts";

interface Flags extends EventFilter {
  readonly search?: string;
  readonly limit: number;
  readonly json?: boolean;
}

/** `events`: finds events by what is known of them. */
export function createEventsCommand(): Command {
  return new Command("events")
    .option("--id <id>", "with this id")
    .option("--type <type>", "of this type; a * at its end stands for any end")
    .option("--error <text>", "with this text in the error, in capitals or not")
    .addOption(new Option("--state <state>", "in this state").choices(EVENT_STATES))
    .option("--search <text>", "of accounts whose id begins with this")
    .option("--received-from <time>", "that arrived then or later, such as 2026-05-01T18:00:00Z", parseTime)
    .option("--received-to <time>", "that arrived then or earlier", parseTime)
    .addOption(wholeNumberOption("--limit <number>", "how many", { least: 1, most: 10_000, default: 50 }))
    .addOption(jsonOption())
    .action(async ({ search: prefix, limit, json, ...wanted }: Flags) => {
      const settings = readSettings(process.env);
      const filter = { ...wanted, prefix };
      const events = await withConnection({ settings, name: "inturn events", say }, async (database) => {
        const stop = listenForStop();
        const found: FoundEvent[] = [];
        let [accounts, looked] = [0, 0];
        for (
          let after: typeof FIRST_EVENT | null = FIRST_EVENT;
          after !== null && found.length < limit && !stop.aborted;
        ) {
          const page = await findEvents(database, { filter, after, limit: Math.min(1_000, limit - found.length) });
          found.push(...page.events);
          accounts += page.accountsLooked;
          looked += page.eventsLooked;
          after = page.next;
          const rest = after === null ? "which are all" : `up to account ${oneLine(after.accountId)}`;
          say(`looked at ${formatNumber(looked)} events of ${formatNumber(accounts)} accounts, ${rest}`);
        }
        return found;
      });
      if (json === true) return print(JSON.stringify(events));
      if (events.length === 0) return print("No event matches.");
      printTable(
        ["ACCOUNT", "SEQ", "ID", "TYPE", "STATE", "RECEIVED", "ATTEMPTS", "TOOK", "ERROR"],
        events.map((event) => [
          oneLine(event.accountId),
          String(event.seq),
          oneLine(event.eventId ?? "–"),
          oneLine(event.type ?? "–"),
          event.state,
          event.receivedAt.slice(0, 19),
          String(event.attempts),
          formatDuration(event.durationMs),
          oneLine(event.error ?? ""),
        ]),
      );
    });
}
