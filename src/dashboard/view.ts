/**
 * What every page shares: how it is shown, and the pieces that it is made of.
 */
import { html } from "hono/html";
import type { HtmlEscapedString } from "hono/utils/html";
import type { Caller } from "../domain/access.ts";
import { assetPath } from "./assets.ts";
import type { PageContext } from "./page.ts";

/** A piece of a page; text put into it is escaped. */
export type Markup = HtmlEscapedString | Promise<HtmlEscapedString>;

const MENU = [
  ["/", "Overview"],
  ["/accounts", "Accounts"],
  ["/events", "Events"],
  ["/lanes", "Lanes"],
  ["/dead-letters", "Dead letters"],
  ["/workers", "Workers"],
  ["/results", "Results"],
] as const;

/** What a page says of itself. */
export interface Shown {
  readonly title: string;
  /** The entry of the menu that it belongs to. */
  readonly entry?: (typeof MENU)[number][0];
  readonly content: Markup;
  /** Stands beside the title. */
  readonly aside?: Markup;
  /** Scripts of ours that it needs. */
  readonly scripts?: readonly string[];
}

/** Answers with a whole page. */
export async function showPage(c: PageContext, shown: Shown): Promise<Response> {
  const base = c.get("basePath");
  const asset = (name: string) => `${base}${assetPath(name)}`;
  const { title, entry, content, aside = html``, scripts = [] } = shown;
  const { within, entries = MENU } = c.get("menu") ?? {};
  return await c.html(html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="htmx-config" content='{"includeIndicatorCSS":false}'>
<title>${title} · Inturn</title>
<link rel="icon" href="${asset("icon.svg")}">
<link rel="stylesheet" href="${asset("uplot.css")}">
<link rel="stylesheet" href="${asset("style.css")}">
<script defer src="${asset("htmx.js")}"></script>
<script defer src="${asset("live.js")}"></script>
${scripts.map((name) => html`<script defer src="${asset(name)}"></script>`)}
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="bar">
<a class="brand" href="${base}/"><img src="${asset("icon.svg")}" alt="" width="22" height="22">Inturn</a>
${within === undefined ? "" : html`<a class="within" href="${within.href}" title="All cells">Cell ${within.name}</a>`}
<nav aria-label="Pages">${entries.map(
    ([path, name]) => html`<a href="${base}${path}" ${path === entry ? html`aria-current="page"` : ""}>${name}</a>`,
  )}<a href="${base}/docs">API</a></nav>
${signOut(c)}
</header>
<main id="main">
<div class="title"><h1>${title}</h1>${aside}</div>
${content}
</main>
</body>
</html>`);
}

/** Only who signed in with a key can sign out. */
function signOut(c: PageContext): Markup {
  const caller = c.get("caller") as Caller | undefined;
  if (caller === undefined || caller.keyId === null) return html``;
  return html`<form method="post" action="${c.get("basePath")}/sign-out">${tokenField(c)}<button title="Signed in with the key ${caller.name}">Sign out</button></form>`;
}

/** What makes a form ours. */
export function tokenField(c: PageContext): Markup {
  return html`<input type="hidden" name="token" value="${c.get("formToken")}">`;
}

/** A part of a page that stays fresh: asked for again every two seconds, and changed where it has changed. */
export function freshPart(content: Markup): Markup {
  return html`<div id="fresh" hx-get="" hx-trigger="every 2s" hx-select="#fresh" hx-target="#fresh" hx-swap="outerMorph" data-live>
${content}
</div>`;
}

/** Stops what is live, and starts it again. */
export const pauseButton: Markup = html`<button type="button" class="push" id="pause" aria-pressed="false">‖ Pause updates</button>`;

/** A column of a table. */
export interface Column {
  readonly label: string;
  readonly number?: boolean;
}

/** A table: head cells, and one row of markup per row. */
export function table(columns: readonly Column[], rows: readonly Markup[], caption: string): Markup {
  return html`<div class="table" tabindex="0" role="region" aria-label="${caption}"><table>
<thead><tr>${columns.map(({ label, number }) => html`<th scope="col" class="${number === true ? "number" : ""}">${label}</th>`)}</tr></thead>
<tbody>${rows}</tbody>
</table></div>`;
}

/** Where an account's page is. */
export function accountPath(c: PageContext, accountId: string): string {
  return `${c.get("basePath")}/accounts/${encodeURIComponent(accountId)}`;
}

const SIGNS: Readonly<Record<string, string>> = {
  idle: "○",
  scheduled: "◔",
  pending: "◔",
  running: "▶",
  processing: "▶",
  retrying: "↻",
  blocked: "■",
  waiting: "◌",
  dead: "✗",
  paused: "‖",
  skipped: "↷",
  processed: "✓",
};

/** A state as a sign and a word, so that its colour only repeats it. */
export function stateBadge(state: string): Markup {
  return html`<span class="state ${state}"><span aria-hidden="true">${signOf(state)}</span>${state}</span>`;
}

/** A state's sign. */
export function signOf(state: string): string {
  return SIGNS[state] ?? "·";
}
