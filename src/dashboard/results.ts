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
  readReceivingSeconds,
  readRunSummary,
  readSize,
} from "../db/results.ts";
import { count, timeOfDay } from "./format.ts";
import { type DashboardPage, lookAt, type PageContext } from "./page.ts";
import { accountPath, type Markup, showPage, stateBadge, table } from "./view.ts";

const ACCOUNTS_PER_PAGE = 100;

/** With more events than these the sums and the proof take seconds, and are made when they are asked for. */
const COUNTED_EVENTS_MAX = 200_000;

/** The results page. */
export function createResultsPage(database: Database): DashboardPage {
  return lookAt("/results", async (c) => {
    const after = c.req.query("after") ?? "";
    const [size, accounts] = await Promise.all([
      readSize(database, COUNTED_EVENTS_MAX),
      listResults(database, after === "" ? null : { accountId: after, pending: 0 }, ACCOUNTS_PER_PAGE),
    ]);
    const isWhole = size.isCounted || c.req.query("prove") === "all";
    const checked = withinBound(accounts, isWhole ? Number.POSITIVE_INFINITY : COUNTED_EVENTS_MAX);
    const [whole, disorder] = await Promise.all([
      isWhole ? wholeOf(database) : askForWhole(c, size.events),
      findAccountsInDisorder(database, checked),
    ]);
    const orderOf = (accountId: string) => {
      if (disorder.has(accountId)) return html`<span class="bad">✗ violated</span>`;
      return checked.includes(accountId) ? html`<span class="good">✓ in order</span>` : html`not checked`;
    };
    return await showPage(c, {
      title: "Results",
      entry: "/results",
      aside: downloads(c),
      content: html`${whole}
<h2>Accounts</h2>
${accounts.length === 0 ? html`<p class="card">No events yet. POST some to <code>/v1/events</code>.</p>` : accountsTable(c, accounts, orderOf)}
${pager(c, after, accounts)}`,
    });
  });
}

/** What is read from every stored event. */
async function wholeOf(database: Database): Promise<Markup> {
  const [summary, receivingSeconds, violations] = await Promise.all([
    readRunSummary(database),
    readReceivingSeconds(database),
    countOrderViolations(database),
  ]);
  return html`${summaryOf(summary, receivingSeconds)}
<h2>Proof of order</h2>${proofOf(summary, violations)}`;
}

function askForWhole(c: PageContext, events: number): Markup {
  return html`<p class="card">There are about ${count(events)} events. To add them up and to check the order of every one takes some seconds. <a class="button" href="${c.get("basePath")}/results?prove=all">Check all</a></p>`;
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

/** A number of the summary: its name, the value, and what it means. */
type Fact = readonly [name: string, value: string, meaning: string];

function summaryOf(summary: RunSummary, receivingSeconds: number | null): Markup {
  const facts: Fact[] = [
    ["Events received", count(summary.events), "as many as are stored"],
    ["Processed", count(summary.processed), "their handler succeeded"],
    ["Accounts", count(summary.accounts), "with at least one event"],
    ...(isOneRun(summary, receivingSeconds) ? runFacts(summary) : []),
  ];
  return html`<dl class="tiles">${facts.map(([name, value, meaning]) => html`<div class="tile"><dt>${name}</dt><dd>${value}</dd><dd class="meaning">${meaning}</dd></div>`)}</dl>`;
}

/** Whether the time from the first event to the last says how fast this is: a service that waits for senders all day has no such time. */
function isOneRun({ events, processed, makespanSeconds }: RunSummary, receivingSeconds: number | null): boolean {
  if (makespanSeconds === null || receivingSeconds === null) return false;
  return events === processed && receivingSeconds <= makespanSeconds / 2;
}

function runFacts({ makespanSeconds, idealSeconds, efficiency }: RunSummary): Fact[] {
  const seconds = (value: number | null) => (value === null ? "–" : `${value.toFixed(1)} s`);
  const percent = efficiency === null ? "–" : `${(efficiency * 100).toFixed(1)} %`;
  return [
    ["Makespan", seconds(makespanSeconds), "from the first event received to the last one processed"],
    ["Floor", seconds(idealSeconds), "the handler time of the longest account: no order could be kept faster"],
    ["Efficiency", percent, "floor divided by makespan"],
  ];
}

const KINDS: Record<OrderViolation["kind"], string> = {
  gap: "No seq is missing",
  overlap: "No event started before the one before it was settled",
  settled_out_of_order: "No event was settled before the one before it",
};

function proofOf(summary: RunSummary, violations: ReadonlyMap<OrderViolation["kind"], number>): Markup {
  return html`<ul class="card states">${Object.entries(KINDS).map(([kind, promise]) => {
    const found = violations.get(kind as OrderViolation["kind"]) ?? 0;
    return html`<li>${found === 0 ? html`<span class="good">✓</span> ${promise}` : html`<span class="bad">✗ ${count(found)} times:</span> ${kind}`}</li>`;
  })}<li class="dim">checked on ${count(summary.events)} stored events</li></ul>`;
}

/** The first accounts of a page that have at most so many events together. */
function withinBound(accounts: readonly AccountResult[], eventsMax: number): string[] {
  let events = 0;
  return accounts.filter((account) => (events += account.events) <= eventsMax).map(({ accountId }) => accountId);
}

function accountsTable(
  c: PageContext,
  accounts: readonly AccountResult[],
  orderOf: (accountId: string) => Markup,
): Markup {
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
<td>${orderOf(account.accountId)}</td>
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
