/**
 * Finding events: by id, type, error, state or time, over all accounts.
 */
import { html } from "hono/html";
import { type EventFilter, type EventPosition, type EventsFound, findEvents } from "../db/find-events.ts";
import type { Database } from "../db/pool.ts";
import { formatDuration, isTime } from "../domain/duration.ts";
import { EVENT_STATES, ID_LENGTH_MAX } from "../domain/event.ts";
import { count } from "./format.ts";
import { type DashboardPage, lookAt, type PageContext } from "./page.ts";
import { accountPath, type Markup, showPage, stateBadge, table } from "./view.ts";

const PAGE_ROWS = 50;

/** Characters of a part of an error. */
const ERROR_LENGTH_MAX = 200;

/** The page: an empty form at first. */
export function createEventsPage(database: Database): DashboardPage {
  return lookAt("/events", async (c) => {
    const filter = readFilter(c);
    const isAsked = Object.values(filter).some((value) => value !== undefined);
    const found = isAsked
      ? await findEvents(database, { filter, after: readPosition(c), limit: PAGE_ROWS })
      : undefined;
    const content = html`${form(c, filter)}${found === undefined ? html`<p class="card">Say what you know of the events.</p>` : results(c, filter, found)}`;
    return await showPage(c, { title: "Events", entry: "/events", content });
  });
}

/** What cannot be understood is left out: a page shows something to everybody who comes by a link. */
function readFilter(c: PageContext): EventFilter {
  const text = (name: string, most = ID_LENGTH_MAX) => {
    const value = (c.req.query(name) ?? "").replaceAll("\0", "").trim().slice(0, most);
    return value === "" ? undefined : value;
  };
  const time = (name: string) => {
    const value = text(name);
    return value !== undefined && isTime(value) ? value : undefined;
  };
  return {
    id: text("id"),
    type: text("type"),
    error: text("error", ERROR_LENGTH_MAX),
    state: EVENT_STATES.find((state) => state === c.req.query("state")),
    prefix: text("search"),
    receivedFrom: time("receivedFrom"),
    receivedTo: time("receivedTo"),
  };
}

function readPosition(c: PageContext): EventPosition {
  const seq = Number(/^\d{1,15}$/.exec(c.req.query("afterSeq") ?? "")?.[0] ?? 0);
  return { accountId: (c.req.query("after") ?? "").replaceAll("\0", "").slice(0, ID_LENGTH_MAX), seq };
}

function form(c: PageContext, filter: EventFilter): Markup {
  const input = (name: string, value: string | undefined, placeholder: string) =>
    html`<input name="${name}" value="${value ?? ""}" maxlength="${ID_LENGTH_MAX}" placeholder="${placeholder}" aria-label="${placeholder}">`;
  return html`<form class="filters" action="${c.get("basePath")}/events">
${input("id", filter.id, "Event id")}
${input("type", filter.type, "Type, such as payment.*")}
${input("error", filter.error, "Part of the error")}
<select name="state" aria-label="State"><option value="">any state</option>${EVENT_STATES.map(
    (state) => html`<option ${state === filter.state ? html`selected` : ""}>${state}</option>`,
  )}</select>
${input("search", filter.prefix, "Account begins with…")}
${input("receivedFrom", filter.receivedFrom, "From 2026-05-01T18:00Z")}
${input("receivedTo", filter.receivedTo, "To 2026-05-01T19:00Z")}
<button>Find</button>
</form>`;
}

function results(c: PageContext, filter: EventFilter, found: EventsFound): Markup {
  const { events, accountsLooked, eventsLooked, next } = found;
  const looked = `Looked at ${count(eventsLooked)} events of ${count(accountsLooked)} accounts`;
  const rest =
    next === null
      ? html`<p class="dim">${looked}; there are no more.</p>`
      : html`<p class="dim">${looked}, up to account ${next.accountId}. <a class="button" href="${pathOf(c, filter, next)}">Look on</a></p>`;
  if (events.length === 0) return html`<p class="card">No event of these matches.</p>${rest}`;
  const columns = [
    { label: "Account" },
    { label: "Seq", number: true },
    { label: "Id" },
    { label: "Type" },
    { label: "State" },
    { label: "Error" },
    { label: "Received" },
    { label: "Attempts", number: true },
    { label: "Took", number: true },
  ];
  const rows = events.map(
    (event) => html`<tr>
<td><a href="${accountPath(c, event.accountId)}?after=${event.seq - 1}">${event.accountId}</a></td><td class="number">${event.seq}</td>
<td>${event.eventId ?? "–"}</td><td>${event.type ?? "–"}</td><td>${stateBadge(event.state)}</td><td class="long">${(event.error ?? "").slice(0, 300)}</td><td>${event.receivedAt.slice(0, 19)}</td>
<td class="number">${event.attempts}</td><td class="number">${formatDuration(event.durationMs)}</td></tr>`,
  );
  return html`${table(columns, rows, "Events")}${rest}`;
}

function pathOf(c: PageContext, filter: EventFilter, next: EventPosition): string {
  const { prefix, ...others } = filter;
  const query = new URLSearchParams({ after: next.accountId, afterSeq: String(next.seq) });
  for (const [name, value] of Object.entries({ ...others, search: prefix })) {
    if (value !== undefined) query.set(name, value);
  }
  return `${c.get("basePath")}/events?${query.toString()}`;
}
