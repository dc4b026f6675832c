/**
 * Many accounts as rows of bars over time: the order with one's own eyes. The picture is drawn in the browser (assets/lanes.js).
 */
import { html } from "hono/html";
import { type Lane, listLanes } from "../db/lanes.ts";
import type { Database } from "../db/pool.ts";
import { type DashboardPage, lookAt, type PageContext } from "./page.ts";
import { type Markup, pauseButton, showPage } from "./view.ts";

const LANES = [50, 200, 1_000] as const;

/** Seconds that are looked back; 0 for everything. */
const WINDOWS = [30, 120, 600, 0] as const;

/** Everybody who looks at the same gets what was read within this time. */
const AGE_MS_MAX = 900;

/** What is shown. */
interface Choice {
  readonly lanes: (typeof LANES)[number];
  readonly seconds: (typeof WINDOWS)[number];
}

/** The page, and what it draws from. */
export function createLanesPages(database: Database): DashboardPage[] {
  const read = sharedReading(database);
  return [
    lookAt("/lanes", (c) => showLanes(c)),
    lookAt("/lanes/data", async (c) => {
      c.header("Content-Type", "application/json");
      return c.body(await read(readChoice(c)));
    }),
  ];
}

function readChoice(c: PageContext): Choice {
  const lanes = LANES.find((number) => String(number) === c.req.query("lanes")) ?? 200;
  return { lanes, seconds: WINDOWS.find((seconds) => String(seconds) === c.req.query("seconds")) ?? 120 };
}

/** However many look on, the database is asked once. */
function sharedReading(database: Database): (choice: Choice) => Promise<string> {
  const readings = new Map<string, { readonly text: Promise<string>; readonly readMs: number }>();
  const read = async ({ lanes, seconds }: Choice) => {
    const sinceMs = seconds === 0 ? 0 : Date.now() - seconds * 1_000;
    const found = await listLanes(database, { lanesMax: lanes, sinceMs });
    return JSON.stringify({ nowMs: found.nowMs, lanes: inOrderOfStart(found.lanes) });
  };
  return (choice) => {
    const name = `${choice.lanes}/${choice.seconds}`;
    const known = readings.get(name);
    if (known !== undefined && performance.now() - known.readMs < AGE_MS_MAX) return known.text;
    const text = read(choice);
    readings.set(name, { text, readMs: performance.now() });
    text.catch(() => readings.delete(name));
    return text;
  };
}

/** The longest lane on top: the floor of a whole run is what it takes. */
function inOrderOfStart(lanes: readonly Lane[]): Lane[] {
  return lanes.toSorted((a, b) => b.bars.length - a.bars.length || (a.accountId < b.accountId ? -1 : 1));
}

async function showLanes(c: PageContext): Promise<Response> {
  const { lanes, seconds } = readChoice(c);
  return await showPage(c, {
    title: "Lanes",
    entry: "/lanes",
    aside: pauseButton,
    scripts: ["lanes-time.js", "lanes-zoom.js", "lanes.js"],
    content: html`<p class="dim">Each row is an account, each bar an event. Accounts run side by side; within a row no two bars ever overlap.</p>
<form class="filters">
<label>Accounts ${choiceOf("lanes", LANES, lanes, String)}</label>
<label>Time ${choiceOf("seconds", WINDOWS, seconds, windowLabel)}</label>
<button>Show</button>
<span class="actions" role="group" aria-label="Zoom"><button type="button" id="zoom-in" title="Zoom in (+)" aria-label="Zoom in">+</button><button type="button" id="zoom-out" title="Zoom out (-)" aria-label="Zoom out">−</button><button type="button" id="zoom-all" title="Show all of the time (0)">All</button></span>
<span class="dim" id="lanes-count" role="status"></span>
</form>
<div class="legend"><span><i class="wait"></i>waits</span><span><i class="run"></i>runs, to its settle</span><span><i class="way"></i>being handled</span><span><i class="way retrying"></i>waits for its next attempt</span><span><i class="way blocked"></i>blocked</span><span><i class="dead"></i>dead letter</span><span><i class="again"></i>more than one attempt</span></div>
<p class="card" id="lanes-empty" hidden>${emptyText(seconds)}</p>
<div class="card picture" id="lanes" tabindex="0" data-source="${c.get("basePath")}/lanes/data?lanes=${lanes}&seconds=${seconds}" data-seconds="${seconds}" data-account="${c.get("basePath")}/accounts/"><canvas role="img" aria-label="Accounts as rows of bars over time"></canvas></div>
<p id="lanes-hint" class="dim" role="status">Point at a bar to see its event; a click opens its account. Pull over a stretch of time to zoom in, or use the keys + - 0 ← →. Every account is also on the page <a href="${c.get("basePath")}/accounts">Accounts</a>.</p>`,
  });
}

function emptyText(seconds: number): string {
  if (seconds === 0) return "There is no event yet. POST some to /v1/events.";
  return `No account was busy in the ${windowLabel(seconds)}. Choose a longer time.`;
}

function windowLabel(seconds: number): string {
  if (seconds === 0) return "everything";
  return seconds < 60 ? `last ${seconds} s` : `last ${seconds / 60} min`;
}

function choiceOf(name: string, values: readonly number[], chosen: number, label: (value: number) => string): Markup {
  return html`<select name="${name}">${values.map(
    (value) => html`<option value="${value}" ${value === chosen ? html`selected` : ""}>${label(value)}</option>`,
  )}</select>`;
}
