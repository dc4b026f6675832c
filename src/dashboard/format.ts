/**
 * Numbers and times as people read them.
 */

/** A whole number with its thousands apart. */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en");
}

/** A duration: `820 ms`, `20.1 s`, `5 min`, `3 h`, `2 d`; a dash for none. */
export function duration(ms: number | null): string {
  if (ms === null) return "–";
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 100_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < 6_000_000) return `${Math.round(ms / 60_000)} min`;
  return ms < 172_800_000 ? `${Math.round(ms / 3_600_000)} h` : `${Math.round(ms / 86_400_000)} d`;
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
  return duration(nowMs - Date.parse(timestamp.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00")));
}

function dayOf(date: Date): string {
  const two = (part: number) => String(part).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
