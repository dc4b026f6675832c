/**
 * One account's lane as a picture: a row for each event, from received over started to settled. No two runs overlap.
 */
import { html } from "hono/html";
import type { FailedAttempt } from "../db/attempts.ts";
import type { EventResult } from "../db/event-pages.ts";
import { formatDuration } from "../domain/duration.ts";
import { evenStep } from "./format.ts";
import { type Markup, signOf } from "./view.ts";

const WIDTH = 1_000;
const LEFT = 70;
const RIGHT = 110;
const ROW = 18;
const BAR = 11;
const AXIS = 22;

/** Events that one picture holds: the last ones. */
const ROWS_MAX = 40;

/** Characters of an error that a bar says. */
const ERROR_LENGTH_MAX = 300;

/** Narrower bars could not be seen. */
const BAR_WIDTH_MIN = 2;

/** Marks on the axis, beside the one at its start. */
const MARKS_MAX = 6;

/** An event as the account's page shows it: the head of a blocked or paused account is not just pending. */
export type ShownEvent = Omit<EventResult, "state"> & {
  readonly state: EventResult["state"] | "blocked" | "paused" | "waiting";
};

interface Row {
  readonly event: ShownEvent;
  readonly receivedMs: number;
  readonly startedMs: number | null;
  readonly endedMs: number;
}

/** Draws the lane of these events, which are in order, with those of their attempts that failed. */
export function drawLane(events: readonly ShownEvent[], attempts: readonly FailedAttempt[], nowMs: number): Markup {
  const shown = events.slice(-ROWS_MAX);
  const rows = shown.map((event, i) => toRow(event, shown[i - 1], nowMs));
  if (rows.length === 0) return html``;
  const failed = attempts.map((attempt) => ({
    ...attempt,
    startedMs: momentOf(attempt.startedAt),
    endedMs: momentOf(attempt.endedAt),
  }));
  const failedOf = (seq: number) => failed.filter((attempt) => attempt.seq === seq);
  const starts = [...rows, ...failed].map(({ startedMs }) => startedMs).filter((ms) => ms !== null);
  const endMs = Math.max(...rows.map((row) => row.endedMs));
  const firstMs = starts.length > 0 ? Math.min(...starts) : Math.min(...rows.map((row) => row.receivedMs));
  // A wait of days must not press a run of seconds into nothing: what began before the first run is cut off.
  const fromMs = firstMs - Math.max(20, (endMs - firstMs) * 0.05);
  const scale = (WIDTH - LEFT - RIGHT) / Math.max(1, endMs - fromMs);
  const x = (ms: number) => LEFT + Math.max(0, ms - fromMs) * scale;
  const height = AXIS + rows.length * ROW;
  const step = evenStep(endMs - firstMs, MARKS_MAX);
  const marks = Array.from({ length: Math.floor((endMs - firstMs) / step) + 1 }, (_, i) => firstMs + i * step);
  return html`<svg class="lane" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="Timeline of ${rows.length} events; the list below holds the same times">
${marks.map(
  (ms) => html`<line class="axis" x1="${x(ms).toFixed(1)}" x2="${x(ms).toFixed(1)}" y1="${AXIS - 4}" y2="${height}"/>
<text x="${x(ms).toFixed(1)}" y="12" text-anchor="middle">+${formatDuration(ms - firstMs)}</text>`,
)}
${rows.map((row, i) => drawRow(row, failedOf(row.event.seq), { y: AXIS + i * ROW, x }))}
</svg>`;
}

/** When the head began is written at its settle: until then it is taken to have begun when the one before it ended. */
function toRow(event: ShownEvent, before: ShownEvent | undefined, nowMs: number): Row {
  const receivedMs = momentOf(event.receivedAt) ?? nowMs;
  const isUnderWay = event.processedAt === null && event.attempts > 0;
  const begunMs = Math.max(receivedMs, momentOf(before?.processedAt ?? null) ?? 0);
  const startedMs = momentOf(event.startedAt) ?? (isUnderWay ? begunMs : null);
  return { event, receivedMs, startedMs, endedMs: momentOf(event.processedAt) ?? nowMs };
}

function drawRow(
  { event, receivedMs, startedMs, endedMs }: Row,
  failed: readonly { attempt: number; startedMs: number | null; endedMs: number | null; error: string | null }[],
  { y, x }: { y: number; x: (ms: number) => number },
): Markup {
  const { seq, state, attempts, waitMs, durationMs } = event;
  const bar = (kind: string, fromMs: number, toMs: number, height: number) =>
    html`<rect class="${kind}" x="${x(fromMs).toFixed(1)}" y="${y + (ROW - height) / 2}" width="${Math.max(BAR_WIDTH_MIN, x(toMs) - x(fromMs)).toFixed(1)}" height="${height}" rx="2"/>`;
  const isSettled = event.processedAt !== null;
  const run = startedMs === null ? html`` : bar(isSettled ? kindOf(state) : `head ${state}`, startedMs, endedMs, BAR);
  const tries = attempts > 1 ? ` · ${attempts} attempts` : "";
  const tried = failed.map(({ attempt, startedMs: fromMs, endedMs: toMs, error }) =>
    fromMs === null || toMs === null
      ? html``
      : html`<g><title>seq ${seq}, attempt ${attempt} failed: ${(error ?? "").slice(0, ERROR_LENGTH_MAX)}</title>${bar("failed", fromMs, toMs, BAR)}</g>`,
  );
  return html`<g><title>seq ${seq}: ${state}, waited ${formatDuration(waitMs)}, ran ${formatDuration(durationMs)}${tries}</title>
<text x="${LEFT - 8}" y="${y + 13}" text-anchor="end">${seq}</text>
${bar("wait", receivedMs, startedMs ?? endedMs, 4)}${run}${tried}
<text x="${(x(endedMs) + 6).toFixed(1)}" y="${y + 13}">${isSettled ? formatDuration(durationMs) : `${signOf(state)} ${state}`}${attempts > 1 ? ` ×${attempts}` : ""}</text></g>`;
}

function kindOf(state: string): string {
  return state === "dead" || state === "skipped" ? state : "run";
}

function momentOf(timestamp: string | null): number | null {
  return timestamp === null ? null : Date.parse(timestamp.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00"));
}
