/**
 * The results as files: every account, streamed page by page, so that a million of them need no memory.
 */
import { stringify } from "csv-stringify/sync";
import type { Database } from "../db/pool.ts";
import type { AccountResult } from "../db/results.ts";
import { type DashboardPage, lookAt } from "./page.ts";
import { listResults } from "./results.ts";

const ACCOUNTS_PER_CHUNK = 1_000;

/** The columns, as `inturn.account_results` has them. */
const COLUMNS: Record<keyof AccountResult, string> = {
  accountId: "account_id",
  state: "state",
  events: "events",
  processed: "processed",
  pending: "pending",
  dead: "dead",
  headSeq: "head_seq",
  headAttempts: "head_attempts",
  headError: "head_error",
  firstReceivedAt: "first_received_at",
  lastProcessedAt: "last_processed_at",
  oldestPendingSeconds: "oldest_pending_seconds",
  blockedSince: "blocked_since",
  waitsFor: "waits_for",
};

/** How a format begins, goes on and ends. */
interface Format {
  readonly type: string;
  readonly begin: string;
  readonly end: string;
  chunk(accounts: readonly AccountResult[], isFirst: boolean): string;
}

const FORMATS: Record<"csv" | "json", Format> = {
  csv: {
    type: "text/csv; charset=utf-8",
    begin: stringify([Object.values(COLUMNS)]),
    end: "",
    // An account's id is a stranger's text: a spreadsheet must not take it for a formula.
    chunk: (accounts) => stringify(accounts.map(toRow), { escape_formulas: true }),
  },
  json: {
    type: "application/json",
    begin: "[",
    end: "]\n",
    chunk: (accounts, isFirst) =>
      accounts.map((account, i) => `${isFirst && i === 0 ? "" : ","}\n${toJson(account)}`).join(""),
  },
};

/** `/results.csv` and `/results.json`. */
export function createDownloads(database: Database): DashboardPage[] {
  return (["csv", "json"] as const).map((name) =>
    lookAt(`/results.${name}`, (c) => {
      c.header("Content-Type", FORMATS[name].type);
      c.header("Content-Disposition", `attachment; filename="inturn-results.${name}"`);
      return c.body(ReadableStream.from(write(database, FORMATS[name])));
    }),
  );
}

async function* write(database: Database, format: Format): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  yield encoder.encode(format.begin);
  for (let last: AccountResult | null = null, isFirst = true; ; isFirst = false) {
    const accounts: AccountResult[] = await listResults(database, last, ACCOUNTS_PER_CHUNK);
    yield encoder.encode(format.chunk(accounts, isFirst));
    last = accounts.at(-1) ?? null;
    if (accounts.length < ACCOUNTS_PER_CHUNK) break;
  }
  yield encoder.encode(format.end);
}

function toRow(account: AccountResult): (string | number | null)[] {
  return Object.keys(COLUMNS).map((name) => account[name as keyof AccountResult]);
}

function toJson(account: AccountResult): string {
  return JSON.stringify(
    Object.fromEntries(Object.entries(COLUMNS).map(([name, column]) => [column, account[name as keyof AccountResult]])),
  );
}
