import { html } from "hono/html";
import type { Database } from "../db/pool.ts";
import { listWorkers, type WorkerAtWork } from "../db/workers.ts";
import { formatDuration } from "../domain/duration.ts";
import { count, timeOfDay } from "./format.ts";
import { type DashboardPage, lookAt } from "./page.ts";
import { freshPart, type Markup, pauseButton, showPage, table } from "./view.ts";

const WORKERS_MAX = 500;

/** The workers, with what each has in hand. */
export function createWorkersPage(database: Database): DashboardPage {
  return lookAt("/workers", async (c) => {
    const workers = await listWorkers(database, WORKERS_MAX);
    return await showPage(c, {
      title: "Workers",
      entry: "/workers",
      aside: pauseButton,
      content: freshPart(workersTable(workers)),
    });
  });
}

/** A row for each worker. */
export function workersTable(workers: readonly WorkerAtWork[]): Markup {
  if (workers.length === 0)
    return html`<p class="card bad">No worker is running: start one with <code>inturn work</code>.</p>`;
  const columns = [
    { label: "Host" },
    { label: "Process", number: true },
    { label: "Accounts in hand" },
    { label: "Life" },
    { label: "Last sign of life", number: true },
    { label: "Lease runs out in", number: true },
    { label: "Started" },
    { label: "Worker" },
  ];
  const rows = workers.map(
    (worker) => html`<tr>
<td>${worker.host}</td>
<td class="number">${worker.pid}</td>
<td><meter min="0" max="${worker.concurrency}" value="${worker.inHand}" aria-label="Accounts in hand">${worker.inHand}</meter> ${count(worker.inHand)} of ${count(worker.concurrency)}</td>
<td>${worker.leaseSecondsLeft > 0 ? html`<span class="good">✓ alive</span>` : html`<span class="bad">✗ silent: its accounts go to others</span>`}</td>
<td class="number">${formatDuration(worker.renewedSecondsAgo * 1_000)} ago</td>
<td class="number">${worker.leaseSecondsLeft > 0 ? formatDuration(worker.leaseSecondsLeft * 1_000) : "–"}</td>
<td>${timeOfDay(worker.startedAt)}</td>
<td><code>${worker.id.slice(0, 8)}</code></td>
</tr>`,
  );
  return table(columns, rows, "Workers");
}
