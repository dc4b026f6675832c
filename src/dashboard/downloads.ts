/**
 * The results as files: every account, streamed page by page, so that a million of them need no memory.
 */
import { stringify } from "csv-stringify/sync";
import type { Database } from "../db/pool.ts";
import type { AccountResult } from "../db/results.ts";
import { compareBytes } from "../domain/byte-order.ts";
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

/** `/results.csv` and `/results.json`. @param databases those of all cells, where there are several: their accounts come in one order */
export function createDownloads(databases: readonly Database[]): DashboardPage[] {
  return (["csv", "json"] as const).map((name) =>
    lookAt(`/results.${name}`, async (c) => {
      const chunks = mergedChunks(databases);
      // A database that is away is told of before anything is sent.
      const first = await chunks.next();
      c.header("Content-Type", FORMATS[name].type);
      c.header("Content-Disposition", `attachment; filename="inturn-results.${name}"`);
      return c.body(ReadableStream.from(write(FORMATS[name], first, chunks)));
    }),
  );
}

async function* write(
  format: Format,
  first: IteratorResult<readonly AccountResult[]>,
  others: AsyncIterable<readonly AccountResult[]>,
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  yield encoder.encode(format.begin);
  if (first.done !== true) yield encoder.encode(format.chunk(first.value, true));
  for await (const accounts of others) yield encoder.encode(format.chunk(accounts, false));
  yield encoder.encode(format.end);
}

/** The accounts of a database that are not sent yet, as far as they are read; the rest is behind the last one. */
interface Source {
  readonly database: Database;
  accounts: AccountResult[];
  isRead: boolean;
}

/** All accounts by id, some at a time. */
async function* mergedChunks(databases: readonly Database[]): AsyncGenerator<readonly AccountResult[], undefined> {
  const sources = databases.map((database): Source => ({ database, accounts: [], isRead: false }));
  await Promise.all(sources.map((source) => readOn(source, null)));
  for (;;) {
    // What is behind the last account that is known of a source is not known yet.
    const horizons = sources.flatMap(({ accounts, isRead }) => (isRead ? [] : (accounts.at(-1) ?? [])));
    const horizon = horizons.toSorted(byId)[0];
    const isKnown = (account: AccountResult) => horizon === undefined || byId(account, horizon) <= 0;
    const known = sources.flatMap(({ accounts }) => accounts.filter(isKnown)).toSorted(byId);
    if (known.length > 0) yield known;
    if (horizon === undefined) return;
    for (const source of sources) {
      const last = source.accounts.at(-1) ?? null;
      source.accounts = source.accounts.filter((account) => !isKnown(account));
      if (source.accounts.length === 0 && !source.isRead) await readOn(source, last);
    }
  }
}

async function readOn(source: Source, last: AccountResult | null): Promise<void> {
  source.accounts = await listResults(source.database, last, ACCOUNTS_PER_CHUNK);
  source.isRead = source.accounts.length < ACCOUNTS_PER_CHUNK;
}

/** By bytes, as the database sorts them. */
function byId(one: AccountResult, other: AccountResult): number {
  return compareBytes(one.accountId, other.accountId);
}

function toRow(account: AccountResult): (string | number | null)[] {
  return Object.keys(COLUMNS).map((name) => account[name as keyof AccountResult]);
}

function toJson(account: AccountResult): string {
  return JSON.stringify(
    Object.fromEntries(Object.entries(COLUMNS).map(([name, column]) => [column, account[name as keyof AccountResult]])),
  );
}
