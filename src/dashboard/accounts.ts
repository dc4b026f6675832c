/**
 * The accounts: those in trouble first, to be searched, filtered and sorted.
 */
import { html } from "hono/html";
import type { Database } from "../db/pool.ts";
import { listUrgentAccounts, SHOWN_STATES, type UrgencySort, type UrgentAccount } from "../db/urgent-accounts.ts";
import type { ShownState } from "../domain/account.ts";
import { formatDuration } from "../domain/duration.ts";
import { ID_LENGTH_MAX } from "../domain/event.ts";
import { ago, count } from "./format.ts";
import { bulkForm } from "./operations.ts";
import { type DashboardPage, lookAt, type PageContext } from "./page.ts";
import { accountPath, freshPart, type Markup, pauseButton, showPage, stateBadge, table } from "./view.ts";

const PAGE_ROWS = 50;

/** Who has come this far looks for something, and finds it by its name. */
const PAGES_MAX = 40;

const SORTS: Record<UrgencySort, string> = {
  urgency: "most urgent first",
  pending: "most pending events first",
  lag: "oldest pending event first",
};

/** What is looked for. */
interface Wanted {
  readonly states: readonly ShownState[];
  readonly prefix: string;
  readonly sort: UrgencySort;
  /** From 1. */
  readonly page: number;
}

/** The listing of accounts. */
export function createAccountsPage(database: Database): DashboardPage {
  return lookAt("/accounts", async (c) => {
    const wanted = readWanted(c);
    const accounts = await listUrgentAccounts(database, {
      ...wanted,
      offset: (wanted.page - 1) * PAGE_ROWS,
      limit: PAGE_ROWS + 1,
    });
    return await showPage(c, {
      title: "Accounts",
      entry: "/accounts",
      aside: pauseButton,
      content: html`${filters(c, wanted)}${bulkForm(c, wanted)}${freshPart(html`${accountsTable(c, accounts.slice(0, PAGE_ROWS))}
${pager(c, wanted, accounts.length > PAGE_ROWS)}`)}`,
    });
  });
}

/** What cannot be understood is left out: a page shows something to everybody who comes by a link. */
function readWanted(c: PageContext): Wanted {
  const state = c.req.query("state") as ShownState | undefined;
  const sort = c.req.query("sort") as UrgencySort | undefined;
  const page = Number(/^\d{1,3}$/.exec(c.req.query("page") ?? "")?.[0] ?? 1);
  return {
    states: state !== undefined && SHOWN_STATES.includes(state) ? [state] : [],
    prefix: (c.req.query("search") ?? "").slice(0, ID_LENGTH_MAX),
    sort: sort !== undefined && Object.hasOwn(SORTS, sort) ? sort : "urgency",
    page: Math.min(Math.max(1, page), PAGES_MAX),
  };
}

function filters(c: PageContext, wanted: Wanted): Markup {
  const selected = (is: boolean) => (is ? html`selected` : "");
  return html`<form class="filters" action="${c.get("basePath")}/accounts" hx-get="${c.get("basePath")}/accounts" hx-trigger="input delay:250ms, submit" hx-select="#fresh" hx-target="#fresh" hx-swap="outerMorph" hx-push-url="true">
<input type="search" name="search" value="${wanted.prefix}" maxlength="${ID_LENGTH_MAX}" placeholder="Account begins with…" aria-label="Account begins with">
<select name="state" aria-label="State"><option value="">any state</option>${SHOWN_STATES.map(
    (state) => html`<option ${selected(wanted.states.includes(state))}>${state}</option>`,
  )}</select>
<select name="sort" aria-label="Order">${Object.entries(SORTS).map(
    ([sort, label]) => html`<option value="${sort}" ${selected(sort === wanted.sort)}>${label}</option>`,
  )}</select>
<button>Show</button>
</form>`;
}

function accountsTable(c: PageContext, accounts: readonly UrgentAccount[]): Markup {
  if (accounts.length === 0) return html`<p class="card">No account matches.</p>`;
  const columns = [
    { label: "Account" },
    { label: "State" },
    { label: "Since" },
    { label: "Pending events", number: true },
    { label: "Oldest waits for", number: true },
    { label: "Attempts", number: true },
    { label: "Dead letters", number: true },
    { label: "Events", number: true },
    { label: "Error" },
  ];
  const rows = accounts.map(
    (account) => html`<tr>
<td><a href="${accountPath(c, account.accountId)}">${account.accountId}</a>${account.error === null ? "" : html`<div class="bad narrow">${account.error.slice(0, 300)}</div>`}</td>
<td>${stateBadge(account.state)}</td>
<td>${ago(account.since)} ago</td>
<td class="number">${count(account.pending)}</td>
<td class="number">${account.oldestPendingSeconds === null ? "–" : formatDuration(account.oldestPendingSeconds * 1_000)}</td>
<td class="number">${account.attempts === 0 ? "–" : account.attempts}</td>
<td class="number">${account.dead === 0 ? "–" : html`<span class="bad">${count(account.dead)}</span>`}</td>
<td class="number">${count(account.events)}</td>
<td class="long">${(account.error ?? "").slice(0, 300)}</td>
</tr>`,
  );
  return table(columns, rows, "Accounts");
}

function pager(c: PageContext, wanted: Wanted, hasMore: boolean): Markup {
  const to = (page: number) => {
    const query = new URLSearchParams({
      search: wanted.prefix,
      state: wanted.states[0] ?? "",
      sort: wanted.sort,
      page: String(page),
    });
    return `${c.get("basePath")}/accounts?${query.toString()}`;
  };
  return html`<nav class="pages" aria-label="Pages of the listing">
${wanted.page > 1 ? html`<a class="button" href="${to(wanted.page - 1)}">← Page ${wanted.page - 1}</a>` : ""}
<span class="dim">Page ${wanted.page}</span>
${hasMore && wanted.page < PAGES_MAX ? html`<a class="button" href="${to(wanted.page + 1)}">Page ${wanted.page + 1} →</a>` : ""}
${hasMore && wanted.page === PAGES_MAX ? html`<span class="dim">There are more: search for what you need.</span>` : ""}
</nav>`;
}
