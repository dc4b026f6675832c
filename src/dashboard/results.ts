/**
 * The results: what came in, what was handled, how near that was to the best there is, and the proof that it was in order.
 */
import { html } from "hono/html";
import { type AccountPosition, listAccounts } from "../db/accounts.ts";
import type { Database } from "../db/pool.ts";
import {
  type AccountResult,
  countOrderViolations,
  findAccountsInDisorder,
  type OrderViolation,
  type RunSummary,
  readRunSummary,
} from "../db/results.ts";
import { count, timeOfDay } from "./format.ts";
import { type DashboardPage, lookAt, type PageContext } from "./page.ts";
import { accountPath, type Markup, showPage, stateBadge, table } from "./view.ts";

const ACCOUNTS_PER_PAGE = 100;

/** With more events than these the proof takes seconds, and is made when it is asked for. */
const PROVED_EVENTS_MAX = 200_000;

/** The results page. */
export function createResultsPage(database: Database): DashboardPage {
  return lookAt("/results", async (c) => {
    const after = c.req.query("after") ?? "";
    const [summary, accounts] = await Promise.all([
      readRunSummary(database),
      listResults(database, after === "" ? null : { accountId: after, pending: 0 }, ACCOUNTS_PER_PAGE),
    ]);
    const isProved = summary.events <= PROVED_EVENTS_MAX || c.req.query("prove") === "all";
    const [violations, disorder] = await Promise.all([
      isProved ? countOrderViolations(database) : undefined,
      findAccountsInDisorder(
        database,
        accounts.map((account) => account.accountId),
      ),
    ]);
    return await showPage(c, {
      title: "Results",
      entry: "/results",
      aside: downloads(c),
      content: html`${summaryOf(summary)}
<h2>Proof of order</h2>${proofOf(c, summary, violations)}
<h2>Accounts</h2>
${accounts.length === 0 ? html`<p class="card">No events yet. POST some to <code>/v1/events</code>.</p>` : accountsTable(c, accounts, disorder)}
${pager(c, after, accounts)}`,
    });
  });
}

/** A page of accounts by id. */
export async function listResults(
  database: Database,
  after: AccountPosition | null,
  limit: number,
): Promise<AccountResult[]> {
  return await listAccounts(database, { states: [], prefixes: [], sort: "id", after, limit });
}

function downloads(c: PageContext): Markup {
  const base = c.get("basePath");
  return html`<span class="push actions"><a class="button" href="${base}/results.csv" download>↓ CSV</a><a class="button" href="${base}/results.json" download>↓ JSON</a></span>`;
}

function summaryOf(summary: RunSummary): Markup {
  const seconds = (value: number | null) => (value === null ? "–" : `${value.toFixed(1)} s`);
  const facts: [string, string][] = [
    ["Events received", count(summary.events)],
    ["Processed", count(summary.processed)],
    ["Accounts", count(summary.accounts)],
    ["Makespan: first received → last processed", seconds(summary.makespanSeconds)],
    ["Floor: the longest account alone", seconds(summary.idealSeconds)],
    ["Efficiency: floor / makespan", summary.efficiency === null ? "–" : `${(summary.efficiency * 100).toFixed(1)} %`],
  ];
  return html`<dl class="tiles">${facts.map(([name, value]) => html`<div class="tile"><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

const KINDS: Record<OrderViolation["kind"], string> = {
  gap: "No seq is missing",
  overlap: "No event started before the one before it was settled",
  settled_out_of_order: "No event was settled before the one before it",
};

function proofOf(
  c: PageContext,
  summary: RunSummary,
  violations: ReadonlyMap<OrderViolation["kind"], number> | undefined,
): Markup {
  if (violations === undefined) {
    return html`<p class="card">There are ${count(summary.events)} events; checking every one takes some seconds. <a class="button" href="${c.get("basePath")}/results?prove=all">Check all</a></p>`;
  }
  return html`<ul class="card states">${Object.entries(KINDS).map(([kind, promise]) => {
    const found = violations.get(kind as OrderViolation["kind"]) ?? 0;
    return html`<li>${found === 0 ? html`<span class="good">✓</span> ${promise}` : html`<span class="bad">✗ ${count(found)} times:</span> ${kind}`}</li>`;
  })}<li class="dim">checked on ${count(summary.events)} stored events</li></ul>`;
}

function accountsTable(c: PageContext, accounts: readonly AccountResult[], disorder: ReadonlySet<string>): Markup {
  const columns = [
    { label: "Account" },
    { label: "State" },
    { label: "Events", number: true },
    { label: "Processed", number: true },
    { label: "First received" },
    { label: "Last processed" },
    { label: "Order" },
  ];
  const rows = accounts.map(
    (account) => html`<tr>
<td><a href="${accountPath(c, account.accountId)}?after=0">${account.accountId}</a></td>
<td>${stateBadge(account.state)}</td>
<td class="number">${count(account.events)}</td>
<td class="number">${count(account.processed)}</td>
<td>${timeOfDay(account.firstReceivedAt)}</td>
<td>${timeOfDay(account.lastProcessedAt)}</td>
<td>${disorder.has(account.accountId) ? html`<span class="bad">✗ violated</span>` : html`<span class="good">✓ in order</span>`}</td>
</tr>`,
  );
  return table(columns, rows, "Accounts");
}

function pager(c: PageContext, after: string, accounts: readonly AccountResult[]): Markup {
  const path = `${c.get("basePath")}/results`;
  const last = accounts.length === ACCOUNTS_PER_PAGE ? accounts.at(-1)?.accountId : undefined;
  return html`<nav class="pages" aria-label="Pages of the listing">${after === "" ? "" : html`<a class="button" href="${path}">First page</a>`}
${last === undefined ? "" : html`<a class="button" href="${path}?after=${encodeURIComponent(last)}">Next page →</a>`}</nav>`;
}
