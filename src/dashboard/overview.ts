/**
 * The overview: how much comes in and goes out, what waits and for how long, and which accounts need a person.
 */
import { html } from "hono/html";
import type { PauseStatus } from "../db/pauses.ts";
import type { Database } from "../db/pool.ts";
import type { Pulse } from "../db/pulse.ts";
import type { TargetStatus } from "../db/target-status.ts";
import { listUrgentAccounts, SHOWN_STATES, type UrgentAccount } from "../db/urgent-accounts.ts";
import { listWorkers, type WorkerAtWork } from "../db/workers.ts";
import { formatDuration } from "../domain/duration.ts";
import { nameOf } from "../domain/pause.ts";
import type { PulseWatch } from "../engine/pulse.ts";
import { ago, count } from "./format.ts";
import { type DashboardPage, lookAt } from "./page.ts";
import { type Markup, pauseButton, showPage, stateBadge, table } from "./view.ts";
import { workersTable } from "./workers.ts";

const ATTENTION_MAX = 10;
const WORKERS_MAX = 20;

/** `[second, received per second, settled per second, backlog, p50 of the wait in ms, p95]` */
type Point = readonly [number, number, number, number, number | null, number | null];

/** The two live parts of the page; the charts between them move by themselves. */
interface LiveParts {
  readonly now: Markup;
  readonly rest: Markup;
}

/** The page; what is live on it comes from `/live`. */
export function createOverviewPage(database: Database, watch: PulseWatch): DashboardPage {
  return lookAt("/", async (c) => {
    const basePath = c.get("basePath");
    const pulse = await watch.latest();
    const { now, rest } = await readParts({ database, watch, pulse, basePath });
    return await showPage(c, {
      title: "Overview",
      entry: "/",
      aside: pauseButton,
      scripts: ["uplot.js", "charts.js"],
      content: html`<div hx-sse:connect="${basePath}/live" id="stream"></div>
<div id="now">${now}</div>
<div id="charts" class="charts" data-points="${JSON.stringify(pointsOf(watch.history))}">
${chart("rates", "Events per second")}${chart("backlog", "Backlog, events")}${chart("waits", "Wait from received to started, ms")}
</div>
<div id="rest">${rest}</div>`,
    });
  });
}

function chart(id: string, title: string): Markup {
  return html`<div class="card chart"><h2>${title}</h2><div class="plot" id="chart-${id}" role="img" aria-label="${title}, over the last minutes; the last numbers stand above"></div></div>`;
}

/** What the live stream sends with every reading: both parts anew, changed in the browser where they have changed. */
export async function renderNews(options: LiveOptions): Promise<string> {
  const { now, rest } = await readParts(options);
  return String(
    await html`<hx-partial hx-target="#now" hx-swap="innerMorph">${now}</hx-partial><hx-partial hx-target="#rest" hx-swap="innerMorph">${rest}</hx-partial>`,
  );
}

/** What the live parts are made from. */
interface LiveOptions {
  readonly database: Database;
  readonly watch: PulseWatch;
  readonly pulse: Pulse;
  readonly basePath: string;
}

async function readParts({ database, watch, pulse, basePath }: LiveOptions): Promise<LiveParts> {
  const urgent = { prefix: "", sort: "urgency", offset: 0, limit: ATTENTION_MAX } as const;
  const [attention, workers] = await Promise.all([
    listUrgentAccounts(database, { ...urgent, states: ["blocked", "retrying"] }),
    listWorkers(database, WORKERS_MAX),
  ]);
  const now = html`${tiles(pulse, pointsOf(watch.history.slice(-2)).at(-1), workers)}
${pauseNotes(pulse.pauses)}
${targetNotes(pulse.targets)}
<h2>Needs attention</h2>
${attentionTable(attention, basePath)}`;
  const rest = html`<h2>Accounts by state</h2>
<div class="card"><ul class="states">${SHOWN_STATES.map(
    (state) =>
      html`<li><a href="${basePath}/accounts?state=${state}">${stateBadge(state)} <strong>${count(pulse.accounts[state])}</strong></a></li>`,
  )}</ul></div>
<h2>Workers</h2>
${workersTable(workers)}`;
  return { now, rest };
}

function tiles(pulse: Pulse, point: Point | undefined, workers: readonly WorkerAtWork[]): Markup {
  const inHand = workers.reduce((sum, worker) => sum + worker.inHand, 0);
  const { waitMs, oldestPendingSeconds } = pulse;
  const facts: [string, string | Markup][] = [
    ["Received per second", point === undefined ? "–" : count(point[1])],
    ["Settled per second", point === undefined ? "–" : count(point[2])],
    ["Backlog", html`${count(pulse.backlog)} <small>events</small>`],
    ["Oldest pending", oldestPendingSeconds === null ? "none" : formatDuration(oldestPendingSeconds * 1_000)],
    [
      "Wait, p50 / p95",
      waitMs === null ? "–" : html`${formatDuration(waitMs.p50)} <small>/ ${formatDuration(waitMs.p95)}</small>`,
    ],
    ["In hand", html`${count(inHand)} <small>accounts</small>`],
    ["Received, ever", count(pulse.received)],
    [
      "Order",
      pulse.orderViolations === 0
        ? html`<span class="good">✓ kept</span>`
        : html`<span class="bad">✗ ${count(pulse.orderViolations)} violations</span>`,
    ],
  ];
  return html`<dl class="tiles">${facts.map(([name, value]) => html`<div class="tile"><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** What is paused as a whole: nobody should have to wonder why nothing starts. */
function pauseNotes(pauses: readonly PauseStatus[]): Markup {
  return html`${pauses.map((pause) => {
    const rests = `${count(pause.accounts)} accounts rest, with ${count(pause.events)} events`;
    const end = pause.until === null ? "until it is resumed" : `until ${pause.until}`;
    const goesOn = pause.rate === null ? end : `it goes on with ${count(pause.rate)} events a second`;
    const since = formatDuration(pause.pausedSeconds * 1_000);
    return html`<p class="note bad"><strong>${nameOf(pause)} is paused</strong> for ${since} by ${pause.who}: ${rests}, ${goesOn}. <span class="dim">${(pause.why ?? "").slice(0, 300)}</span></p>`;
  })}`;
}

/** What every person who looks wants to know first: which outside system is away, since when, who waits, and what comes next. */
function targetNotes(targets: readonly TargetStatus[]): Markup {
  return html`${targets.map((target) => {
    const waits = `${count(target.waitingAccounts)} accounts wait, with ${count(target.waitingEvents)} events`;
    if (target.awaySeconds === null)
      return html`<p class="note good"><strong>${target.target} is back.</strong> ${waits}; they are woken little by little.</p>`;
    const since = formatDuration(target.awaySeconds * 1_000);
    return html`<p class="note bad"><strong>${target.target} is away</strong> for ${since}: ${waits}, ${nextTryOf(target)}. <span class="dim">${(target.reason ?? "").slice(0, 300)}</span></p>`;
  })}`;
}

function nextTryOf({ state, nextProbeSeconds, probeAccount, byHand }: TargetStatus): string {
  if (state === "half-open") return `it is being tried with the account ${probeAccount}`;
  if (nextProbeSeconds !== null) return `next try in ${formatDuration(Math.max(0, nextProbeSeconds * 1_000))}`;
  return byHand ? "until a person closes it" : "no try is planned";
}

function attentionTable(accounts: readonly UrgentAccount[], basePath: string): Markup {
  if (accounts.length === 0) return html`<p class="card good">✓ No account is blocked or retrying.</p>`;
  const columns = [
    { label: "Account" },
    { label: "State" },
    { label: "Since" },
    { label: "Pending events", number: true },
    { label: "Attempts", number: true },
    { label: "Error" },
  ];
  const rows = accounts.map(
    (account) => html`<tr>
<td><a href="${basePath}/accounts/${encodeURIComponent(account.accountId)}">${account.accountId}</a></td>
<td>${stateBadge(account.state)}</td>
<td>${ago(account.since)} ago</td>
<td class="number">${count(account.pending)}</td>
<td class="number">${account.attempts}</td>
<td class="long">${(account.error ?? "").slice(0, 300)}</td>
</tr>`,
  );
  return table(columns, rows, "Accounts that are blocked or retrying");
}

/** Rates between one reading and the next; the reading alone has none. */
export function pointsOf(history: readonly Pulse[]): Point[] {
  return history.slice(1).map((pulse, i) => {
    const before = history[i] as Pulse;
    const seconds = Math.max(0.001, (pulse.atMs - before.atMs) / 1_000);
    const rate = (of: "received" | "settled") => Math.max(0, Math.round((pulse[of] - before[of]) / seconds));
    const { waitMs } = pulse;
    const wait = (of: "p50" | "p95") => (waitMs === null ? null : Math.round(waitMs[of]));
    return [Math.round(pulse.atMs) / 1_000, rate("received"), rate("settled"), pulse.backlog, wait("p50"), wait("p95")];
  });
}
