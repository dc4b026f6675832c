/**
 * One account: what it does, its lane, its events in order, and what can be done about it.
 */
import { html } from "hono/html";
import { type FailedAttempt, listFailedAttempts } from "../db/attempts.ts";
import { type EventResult, findEvent, findPage, readPage } from "../db/event-pages.ts";
import { listOperations, type OperatorLogEntry } from "../db/operate.ts";
import type { Database } from "../db/pool.ts";
import { type AccountResult, findAccount } from "../db/results.ts";
import { VERBS, type Verb } from "../domain/account.ts";
import { formatDuration } from "../domain/duration.ts";
import { ID_LENGTH_MAX } from "../domain/event.ts";
import type { AnswerBudget } from "../engine/answers.ts";
import { InturnError } from "../errors/error.ts";
import { count, timeOfDay } from "./format.ts";
import { drawLane, type ShownEvent } from "./lane.ts";
import { type DashboardPage, lookAt, type PageContext } from "./page.ts";
import { mayOperate, verbButton } from "./verbs.ts";
import { accountPath, freshPart, type Markup, pauseButton, showPage, stateBadge, table } from "./view.ts";

const EVENTS_PER_PAGE = 50;

/** Settled events that stand before the head where the page does not say from where. */
const BEFORE_HEAD = 25;

const OPERATIONS_MAX = 10;

/** Attempts that failed, the last ones of the page's events. */
const ATTEMPTS_MAX = 100;

const ERROR_LENGTH_MAX = 500;

/** Characters of an event's data in its row, and in all. */
const DATA_LENGTH_MAX = { row: 90, all: 20_000 };

/** The page of one account. */
export function createAccountPage(database: Database): DashboardPage {
  return lookAt("/accounts/:id", async (c) => {
    const accountId = c.req.param("id") ?? "";
    const account = accountId.length > ID_LENGTH_MAX ? undefined : await findAccount(database, accountId);
    if (account === undefined) {
      throw new InturnError("account_not_found", "There is no such account: it never had an event.");
    }
    const afterSeq = readAfter(c, account);
    const [listed, operations] = await Promise.all([
      listEvents(database, accountId, afterSeq),
      listOperations(database, accountId, OPERATIONS_MAX),
    ]);
    const events = listed.map((event) => showHead(event, account));
    const range = { accountId, fromSeq: events[0]?.seq ?? 0, toSeq: events.at(-1)?.seq ?? 0 };
    const attempts = events.some((event) => event.attempts > 0) ? await listFailedAttempts(database, range) : [];
    return await showPage(c, {
      title: accountId,
      entry: "/accounts",
      aside: pauseButton,
      content: html`${doneNote(c)}${freshPart(html`${summary(account)}${actions(c, account, events)}
<h2>Lane</h2><div class="card picture" tabindex="0" role="region" aria-label="Lane">${drawLane(events, attempts, Date.now())}</div>${legend}
<h2>Events in order</h2>${eventsTable(c, events)}${pager(c, account, { afterSeq, events })}
${attemptsTable(attempts)}
${operationsTable(operations)}`)}`,
    });
  });
}

function showHead(event: EventResult, { headSeq, state }: AccountResult): ShownEvent {
  return event.seq === headSeq && ["blocked", "paused", "waiting"].includes(state)
    ? { ...event, state: state as ShownEvent["state"] }
    : event;
}

/** A page of events; of a large one's data no more than is shown. */
async function listEvents(database: Database, accountId: string, afterSeq: number): Promise<EventResult[]> {
  const page = await findPage(database, { accountId, afterSeq, limit: EVENTS_PER_PAGE });
  return await readPage(database, page, { charactersMax: DATA_LENGTH_MAX.all + 1 });
}

/** One event's data as it was sent, for who wants all of it. */
export function createDataPage(database: Database, answers: AnswerBudget): DashboardPage {
  return lookAt("/accounts/:id/events/:seq/data", async (c) => {
    const { id: accountId = "", seq = "" } = c.req.param();
    const page = /^\d{1,15}$/.test(seq) ? await findEvent(database, accountId, Number(seq)) : undefined;
    answers.hold(c, page?.bytes ?? 0);
    const [event] = await readPage(database, page);
    if (event === undefined)
      throw new InturnError("event_not_found", "There is no such event, or it is no longer kept.");
    c.header("Content-Type", "application/json");
    return c.body(event.data);
  });
}

function readAfter(c: PageContext, account: AccountResult): number {
  const given = /^\d{1,15}$/.exec(c.req.query("after") ?? "")?.[0];
  if (given !== undefined) return Number(given);
  const settled = account.events - account.pending;
  // The last page of an account that is done, else the events around its head.
  return Math.max(0, settled - (account.pending === 0 ? EVENTS_PER_PAGE : BEFORE_HEAD));
}

function doneNote(c: PageContext): Markup {
  const verb = VERBS.find((known) => known === c.req.query("done"));
  return verb === undefined ? html`` : html`<p class="note good" role="status">✓ ${verb} was carried out.</p>`;
}

function summary(account: AccountResult): Markup {
  const { state, events, processed, pending, dead, headSeq, headAttempts, headError, oldestPendingSeconds } = account;
  const facts: [string, string | Markup][] = [
    ["State", stateBadge(state)],
    ["Events", count(events)],
    ["Processed", count(processed)],
    ["Pending", count(pending)],
    ["Oldest waits for", oldestPendingSeconds === null ? "–" : formatDuration(oldestPendingSeconds * 1_000)],
    ["Dead letters", dead === 0 ? "none" : html`<span class="bad">${count(dead)}</span>`],
  ];
  return html`<dl class="tiles">${facts.map(([name, value]) => html`<div class="tile"><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
${account.waitsFor === null ? "" : html`<p class="note"><strong>Event ${headSeq} waits for its target ${account.waitsFor}, which is away.</strong> It goes on by itself when that is back.</p>`}
${headError === null ? "" : html`<p class="note bad"><strong>Event ${headSeq} failed, attempt ${headAttempts}${account.blockedSince === null ? "" : html`, blocked since ${timeOfDay(account.blockedSince)}`}:</strong> ${headError}</p>`}`;
}

/** The verbs that make sense in this state; the database judges again. */
function actions(c: PageContext, account: AccountResult, events: readonly ShownEvent[]): Markup {
  if (!mayOperate(c))
    return html`<p class="dim">This key may look, not operate: it lacks the scope <code>operate</code>.</p>`;
  const { state, pending, accountId } = account;
  const isStuck = state === "blocked" || state === "retrying";
  const verbs: Verb[] = [
    ...(isStuck ? (["retry"] as const) : []),
    ...(pending > 0 && state !== "running" ? (["skip"] as const) : []),
    state === "paused" ? "resume" : "pause",
    "replay",
  ];
  return html`<div class="actions" role="group" aria-label="What can be done">${verbs.map((verb) => verbButton(c, verb, { accountId, meant: verb === "skip" ? describeHead(account, events) : html`` }))}</div>`;
}

/** The event that a skip gives up. */
function describeHead({ headSeq }: AccountResult, events: readonly ShownEvent[]): Markup {
  const head = events.find(({ seq }) => seq === headSeq);
  const data = head === undefined ? html`` : html`<pre>${head.data.slice(0, DATA_LENGTH_MAX.row)}</pre>`;
  return html`<p>It gives up <strong>event ${headSeq}</strong>:</p>${data}`;
}

const legend = html`<div class="legend"><span><i class="wait"></i>waits</span><span><i class="run"></i>runs, to its settle</span><span><i class="head processing"></i>▶ being handled</span><span><i class="head retrying"></i>↻ failed, waits for its next attempt</span><span><i class="head waiting"></i>◌ its target is away</span><span><i class="head blocked"></i>■ blocked, needs a person</span><span><i class="dead"></i>set aside as a dead letter</span><span><i class="failed"></i>an attempt that failed</span><span>×3: tried three times</span></div>`;

function eventsTable(c: PageContext, events: readonly ShownEvent[]): Markup {
  if (events.length === 0) return html`<p class="card">No event is kept here.</p>`;
  const columns = [
    { label: "Seq", number: true },
    { label: "State" },
    { label: "Type" },
    { label: "Data" },
    { label: "Attempts", number: true },
    { label: "Received" },
    { label: "Waited", number: true },
    { label: "Started" },
    { label: "Handler", number: true },
    { label: "Settled" },
    { label: "Id" },
  ];
  const rows = events.map(
    (event) => html`<tr>
<td class="number">${event.seq}</td>
<td>${stateBadge(event.state)}</td>
<td>${event.type ?? "–"}</td>
<td class="long">${dataOf(c, event)}${event.error === null ? "" : html`<div class="bad">${event.error.slice(0, 300)}</div>`}${event.state === "dead" && mayOperate(c) ? verbButton(c, "redrive", event) : ""}</td>
<td class="number">${event.attempts}</td>
<td>${timeOfDay(event.receivedAt)}</td>
<td class="number">${formatDuration(event.waitMs)}</td>
<td>${timeOfDay(event.startedAt)}</td>
<td class="number">${formatDuration(event.durationMs)}</td>
<td>${timeOfDay(event.processedAt)}</td>
<td>${event.eventId ?? "–"}</td>
</tr>`,
  );
  return table(columns, rows, "Events in order");
}

/** What was opened stays open while the rest of the page is kept fresh: data never changes. */
function dataOf(c: PageContext, { accountId, seq, data, bytes }: ShownEvent): Markup {
  if (data.length <= DATA_LENGTH_MAX.row) return html`<span class="data">${data}</span>`;
  const whole = `${accountPath(c, accountId)}/events/${seq}/data`;
  const more = data.length > DATA_LENGTH_MAX.all ? html`<p>… <a href="${whole}">all ${count(bytes)} bytes</a></p>` : "";
  return html`<details hx-morph-skip id="data-${seq}"><summary class="data">${data.slice(0, DATA_LENGTH_MAX.row)}…</summary><pre>${data.slice(0, DATA_LENGTH_MAX.all)}</pre>${more}</details>`;
}

function pager(
  c: PageContext,
  account: AccountResult,
  shown: { afterSeq: number; events: readonly ShownEvent[] },
): Markup {
  const to = (after: number) => `${accountPath(c, account.accountId)}?after=${Math.max(0, after)}`;
  const last = shown.events.at(-1)?.seq ?? account.events;
  return html`<nav class="pages" aria-label="Pages of the events">
${shown.afterSeq > 0 ? html`<a class="button" href="${to(0)}">First</a><a class="button" href="${to(shown.afterSeq - EVENTS_PER_PAGE)}">← Earlier</a>` : ""}
${last < account.events ? html`<a class="button" href="${to(last)}">Later →</a><a class="button" href="${to(account.events - EVENTS_PER_PAGE)}">Last</a>` : ""}
</nav>`;
}

/** What happened to these events before they went well, or did not. */
function attemptsTable(attempts: readonly FailedAttempt[]): Markup {
  if (attempts.length === 0) return html``;
  const columns = [
    { label: "Seq", number: true },
    { label: "Attempt", number: true },
    { label: "Started" },
    { label: "Ended" },
    { label: "Then" },
    { label: "Error" },
  ];
  const rows = attempts
    .slice(-ATTEMPTS_MAX)
    .map(
      ({ seq, attempt, startedAt, endedAt, next, error }) =>
        html`<tr><td class="number">${seq}</td><td class="number">${attempt}</td><td>${timeOfDay(startedAt)}</td><td>${timeOfDay(endedAt)}</td><td>${NEXT[next]}</td><td class="long">${(error ?? "–").slice(0, ERROR_LENGTH_MAX)}</td></tr>`,
    );
  return html`<h2>Attempts that failed</h2>${table(columns, rows, "Attempts that failed")}`;
}

/** What became of an event after an attempt that failed. */
const NEXT: Record<FailedAttempt["next"], string> = {
  retry: "tried again",
  snooze: "put off, not counted",
  wait: "waited for its target, not counted",
  block: "blocked",
  park: "blocked for a time",
  "dead-letter": "dead letter",
  lost: "its worker was gone",
};

function operationsTable(operations: readonly OperatorLogEntry[]): Markup {
  if (operations.length === 0) return html``;
  const columns = [
    { label: "When" },
    { label: "Verb" },
    { label: "Seq", number: true },
    { label: "Who" },
    { label: "Why" },
  ];
  const rows = operations.map(
    ({ at, verb, seq, who, why }) =>
      html`<tr><td>${timeOfDay(at)}</td><td>${verb}</td><td class="number">${seq ?? "–"}</td><td>${who}</td><td class="long">${why ?? "–"}</td></tr>`,
  );
  return html`<h2>What operators did</h2>${table(columns, rows, "What operators did")}`;
}
