/**
 * The page of all cells: how each is, and the way to its own pages.
 */
import { html } from "hono/html";
import type { Database } from "../db/pool.ts";
import type { Pulse } from "../db/pulse.ts";
import { formatDuration } from "../domain/duration.ts";
import { assetPages } from "./assets.ts";
import { createDownloads } from "./downloads.ts";
import { showError } from "./error-page.ts";
import { count } from "./format.ts";
import { type DashboardPage, lookAt } from "./page.ts";
import { freshPart, type Markup, pauseButton, showPage, table } from "./view.ts";

/** A cell as the page shows it. */
export interface ShownCell {
  readonly name: string;
  /** Of its pages, below the base path. */
  readonly path: string;
  /** How many of the 256 buckets lie in it. */
  readonly buckets: number;
  /** Undefined while its database does not answer. */
  readonly pulse: Pulse | undefined;
}

/**
 * The pages of a server of several cells.
 *
 * @param readCells how all of them are now
 * @param databases of all of them, for their results
 */
export function createCellsPages(
  readCells: () => Promise<readonly ShownCell[]>,
  databases: readonly Database[],
): {
  pages: readonly DashboardPage[];
  showError: typeof showError;
} {
  const page = lookAt("/", async (c) => {
    const cells = await readCells();
    const base = c.get("basePath");
    return await showPage(c, {
      title: "Cells",
      entry: "/",
      aside: pauseButton,
      content: freshPart(html`${cellsTable(cells, base)}
<p class="dim">Each cell is a database with accounts of its own. Its page has its accounts, events, dead letters and workers.
The results of all accounts: <a href="${base}/results.csv" download>CSV</a>, <a href="${base}/results.json" download>JSON</a>.</p>`),
    });
  });
  return { pages: [page, ...createDownloads(databases), ...assetPages], showError };
}

function cellsTable(cells: readonly ShownCell[], basePath: string): Markup {
  const columns = [
    { label: "Cell" },
    { label: "State" },
    { label: "Buckets", number: true },
    { label: "Accounts", number: true },
    { label: "Blocked", number: true },
    { label: "Received", number: true },
    { label: "Settled", number: true },
    { label: "Pending", number: true },
    { label: "Oldest pending", number: true },
  ];
  const rows = cells.map((cell) => rowOf(cell, basePath));
  return table(columns, [...rows, sumOf(cells)], "Cells");
}

function rowOf({ name, path, buckets, pulse }: ShownCell, basePath: string): Markup {
  const link = html`<td><a href="${basePath}${path}/">${name}</a></td>`;
  if (pulse === undefined) {
    return html`<tr>${link}<td><span class="bad">✗ away: its accounts wait, the others go on</span></td>
<td class="number">${buckets}</td>${Array.from({ length: 6 }, () => html`<td class="number">–</td>`)}</tr>`;
  }
  return html`<tr>${link}<td><span class="good">✓ answers</span></td>
<td class="number">${buckets}</td>${numbers([pulse])}</tr>`;
}

function sumOf(cells: readonly ShownCell[]): Markup {
  const answering = cells.filter(({ pulse }) => pulse !== undefined);
  const buckets = answering.reduce((sum, cell) => sum + cell.buckets, 0);
  return html`<tr class="sum"><td>All</td><td>${answering.length} of ${cells.length} answer</td>
<td class="number">${buckets}</td>${numbers(answering.flatMap(({ pulse }) => pulse ?? []))}</tr>`;
}

/** Of one cell, or of several together. */
function numbers(pulses: readonly Pulse[]): Markup {
  const sum = (read: (pulse: Pulse) => number) => pulses.reduce((so, pulse) => so + read(pulse), 0);
  const accounts = sum((pulse) => Object.values(pulse.accounts).reduce((so, number) => so + number, 0));
  const blocked = sum((pulse) => pulse.accounts.blocked);
  const waits = pulses.flatMap(({ oldestPendingSeconds }) => oldestPendingSeconds ?? []);
  const oldest = waits.length === 0 ? "–" : formatDuration(Math.max(...waits) * 1_000);
  return html`<td class="number">${count(accounts)}</td>
<td class="number">${blocked > 0 ? html`<span class="bad">${count(blocked)}</span>` : "0"}</td>
<td class="number">${count(sum(({ received }) => received))}</td><td class="number">${count(sum(({ settled }) => settled))}</td>
<td class="number">${count(sum(({ backlog }) => backlog))}</td><td class="number">${oldest}</td>`;
}
