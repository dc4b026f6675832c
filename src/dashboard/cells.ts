/**
 * The page of all cells: how each is, and the way to its own pages.
 */
import { html } from "hono/html";
import type { Pulse } from "../db/pulse.ts";
import { formatDuration } from "../domain/duration.ts";
import { assetPages } from "./assets.ts";
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

/** The pages of a server of several cells. @param readCells how all of them are now */
export function createCellsPages(readCells: () => Promise<readonly ShownCell[]>): {
  pages: readonly DashboardPage[];
  showError: typeof showError;
} {
  const page = lookAt("/", async (c) => {
    const cells = await readCells();
    return await showPage(c, {
      title: "Cells",
      entry: "/",
      aside: pauseButton,
      content: freshPart(html`${cellsTable(cells, c.get("basePath"))}
<p class="dim">Each cell is a database with accounts of its own. Its page has its accounts, events, dead letters and workers.</p>`),
    });
  });
  return { pages: [page, ...assetPages], showError };
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
  return table(
    columns,
    cells.map((cell) => rowOf(cell, basePath)),
    "Cells",
  );
}

function rowOf({ name, path, buckets, pulse }: ShownCell, basePath: string): Markup {
  const link = html`<td><a href="${basePath}${path}/">${name}</a></td>`;
  if (pulse === undefined) {
    return html`<tr>${link}<td><span class="bad">✗ away: its accounts wait, the others go on</span></td>
<td class="number">${buckets}</td>${Array.from({ length: 6 }, () => html`<td class="number">–</td>`)}</tr>`;
  }
  const { accounts, received, settled, backlog, oldestPendingSeconds } = pulse;
  const all = Object.values(accounts).reduce((sum, number) => sum + number, 0);
  const oldest = oldestPendingSeconds === null ? "–" : formatDuration(oldestPendingSeconds * 1_000);
  return html`<tr>${link}<td><span class="good">✓ answers</span></td>
<td class="number">${buckets}</td><td class="number">${count(all)}</td>
<td class="number">${accounts.blocked > 0 ? html`<span class="bad">${count(accounts.blocked)}</span>` : "0"}</td>
<td class="number">${count(received)}</td><td class="number">${count(settled)}</td><td class="number">${count(backlog)}</td>
<td class="number">${oldest}</td></tr>`;
}
