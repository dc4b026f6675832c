/**
 * Numbers and times as people read them.
 */
import { formatDuration } from "../domain/duration.ts";

/** A whole number with its thousands apart. */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en");
}

/** PostgreSQL's timestamp as a time of day with milliseconds, in the server's zone; with the day when that is not the given one. */
export function timeOfDay(timestamp: string | null, today: string = dayOf(new Date())): string {
  if (timestamp === null) return "–";
  const [, day, time] = /^(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d{1,3})?)/.exec(timestamp) ?? [];
  if (day === undefined || time === undefined) return timestamp;
  return day === today ? time : `${day} ${time.slice(0, 8)}`;
}

/** How long ago a moment was, by this machine's clock. */
export function ago(timestamp: string | null, nowMs: number = Date.now()): string {
  if (timestamp === null) return "–";
  return formatDuration(nowMs - Date.parse(timestamp.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00")));
}

const HOUR = 3_600_000;

/** Steps in which people count time, in milliseconds. */
const STEPS = Object.entries({
  1: [1, 2, 5, 10, 20, 50, 100, 200, 500],
  1_000: [1, 2, 5, 10, 20, 30],
  60_000: [1, 2, 5, 10, 20, 30],
  [HOUR]: [1, 2, 3, 6, 12, 24, 48, 120],
}).flatMap(([unit, counts]) => counts.map((n) => n * Number(unit)));

/** The smallest even step that divides a time into at most so many parts, in milliseconds. */
export function evenStep(ms: number, partsMax: number): number {
  return STEPS.find((step) => ms / step <= partsMax) ?? Math.ceil(ms / partsMax / (24 * HOUR)) * 24 * HOUR;
}

function dayOf(date: Date): string {
  const two = (part: number) => String(part).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
