/**
 * The results page: what came in, what was handled, and whether it was in order. It reads the public views only.
 */
import type { Context, Handler } from "hono";
import { html } from "hono/html";
import { type EventResult, listAccounts, listEvents } from "../db/pages.ts";
import type { Database } from "../db/pool.ts";
import {
  type AccountResult,
  findAccount,
  findAccountsInDisorder,
  type RunSummary,
  readRunSummary,
} from "../db/results.ts";
import { InturnError } from "../errors/error.ts";
import { duration, type Markup, page, table, timeOfDay } from "./layout.ts";

const ACCOUNTS_PER_PAGE = 100;
const EVENTS_PER_PAGE = 500;

/** The pages, by path. */
export function createResultsPages(database: Database): Record<string, Handler> {
  return {
    "/": (c) => c.redirect("/results"),
    "/results": (c) => showAccounts(c, database),
    "/results/:id": (c) => showAccount(c, database),
  };
}

async function showAccounts(c: Context, database: Database): Promise<Response> {
  const after = c.req.query("after") ?? "";
  const [summary, accounts] = await Promise.all([
    readRunSummary(database),
    listAccounts(database, {
      states: [],
      prefixes: [],
      sort: "id",
      after: after === "" ? null : { accountId: after, pending: 0 },
      limit: ACCOUNTS_PER_PAGE,
    }),
  ]);
  const disorder = await findAccountsInDisorder(
    database,
    accounts.map((account) => account.accountId),
  );
  const last = accounts.length === ACCOUNTS_PER_PAGE ? accounts.at(-1)?.accountId : undefined;
  return await c.html(
    page(
      "Results",
      html`${summaryOf(summary)}
${accounts.length === 0 ? html`<p>No events yet. POST some to <code>/v1/events</code>.</p>` : accountsTable(accounts, disorder)}
<nav>${after === "" ? "" : html`<a href="/results">First page</a>`}
${last === undefined ? "" : html`<a href="/results?after=${encodeURIComponent(last)}">Next page</a>`}</nav>`,
    ),
  );
}

function summaryOf(summary: RunSummary): Markup {
  const seconds = (value: number | null) => (value === null ? "–" : `${value.toFixed(1)} s`);
  const facts: [string, string][] = [
    ["Events received", summary.events.toLocaleString("en")],
    ["Processed", summary.processed.toLocaleString("en")],
    ["Accounts", summary.accounts.toLocaleString("en")],
    ["First received → last processed", seconds(summary.makespanSeconds)],
    ["Floor: the longest account alone", seconds(summary.idealSeconds)],
    ["Efficiency", summary.efficiency === null ? "–" : `${(summary.efficiency * 100).toFixed(1)} %`],
  ];
  return html`<dl>${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function accountsTable(accounts: readonly AccountResult[], disorder: ReadonlySet<string>): Markup {
  const head = [
    { label: "Account" },
    { label: "State" },
    { label: "Events", number: true },
    { label: "Processed", number: true },
    { label: "First received" },
    { label: "Last processed" },
    { label: "Order" },
  ];
  return table(
    head,
    accounts.map(
      (account) => html`<tr>
<td><a href="/results/${encodeURIComponent(account.accountId)}">${account.accountId}</a></td>
<td>${account.state === "blocked" ? html`<span class="bad">blocked</span>` : account.state}</td>
<td class="number">${account.events}</td>
<td class="number">${account.processed}</td>
<td>${timeOfDay(account.firstReceivedAt)}</td>
<td>${timeOfDay(account.lastProcessedAt)}</td>
<td>${disorder.has(account.accountId) ? html`<span class="bad">✗ violated</span>` : html`<span class="good">✓ in order</span>`}</td>
</tr>`,
    ),
  );
}

async function showAccount(c: Context, database: Database): Promise<Response> {
  const accountId = c.req.param("id") ?? "";
  const account = await findAccount(database, accountId);
  if (account === undefined)
    throw new InturnError("account_not_found", "There is no such account: it never had an event.");
  const afterSeq = Number(/^\d{1,15}$/.exec(c.req.query("after") ?? "0")?.[0] ?? 0);
  const events = await listEvents(database, { accountId, afterSeq, limit: EVENTS_PER_PAGE });
  const seq = events.at(-1)?.seq ?? account.events;
  const last = seq < account.events ? seq : undefined;
  return await c.html(
    page(
      `Account ${accountId}`,
      html`<p>${account.state}: ${account.processed} of ${account.events} events processed${account.dead === 0 ? "" : html`, <span class="bad">${account.dead} set aside as dead letters</span>`}.
${account.headError === null ? "" : html`<span class="bad">Event ${account.headSeq} failed: ${account.headError}</span>`}</p>
${eventsTable(events)}
<nav><a href="/results">All accounts</a>
${last === undefined ? "" : html`<a href="/results/${encodeURIComponent(accountId)}?after=${last}">Next page</a>`}</nav>`,
    ),
  );
}

function eventsTable(events: readonly EventResult[]): Markup {
  const head = [
    { label: "Seq", number: true },
    { label: "State" },
    { label: "Received" },
    { label: "Started" },
    { label: "Settled" },
    { label: "Waited", number: true },
    { label: "Handler", number: true },
    { label: "Attempts", number: true },
    { label: "Type" },
    { label: "Data" },
  ];
  return table(
    head,
    events.map(
      (event) => html`<tr>
<td class="number">${event.seq}</td>
<td>${event.state}</td>
<td>${timeOfDay(event.receivedAt)}</td>
<td>${timeOfDay(event.startedAt)}</td>
<td>${timeOfDay(event.processedAt)}</td>
<td class="number">${duration(event.waitMs)}</td>
<td class="number">${duration(event.durationMs)}</td>
<td class="number">${event.attempts}</td>
<td>${event.type ?? "–"}</td>
<td class="data">${event.data.slice(0, 300)}</td>
</tr>`,
    ),
  );
}
