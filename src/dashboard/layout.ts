import { html, raw } from "hono/html";
import type { HtmlEscapedString } from "hono/utils/html";

/** A piece of a page; text put into it is escaped. */
export type Markup = HtmlEscapedString | Promise<HtmlEscapedString>;

const STYLE = `
:root { color-scheme: light dark; --line: light-dark(#d8dee4, #30363d); --dim: light-dark(#57606a, #9198a1);
  --good: light-dark(#116329, #56d364); --bad: light-dark(#a40e26, #ff7b72); }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 3rem); max-width: 80rem; }
h1 { font-size: 1.4rem; margin: 0 0 1rem; }
a { color: light-dark(#0969da, #58a6ff); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1rem; margin: 0 0 1.5rem; }
dt { color: var(--dim); font-size: .85rem; } dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.table { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .4rem .75rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
tr:last-child td { border-bottom: 0; } th { color: var(--dim); font-weight: 600; font-size: .85rem; }
td.number, th.number { text-align: right; } td.data { white-space: normal; overflow-wrap: anywhere; min-width: 16rem; font-family: ui-monospace, monospace; font-size: .85rem; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
nav { margin: 1rem 0; display: flex; gap: 1rem; }`;

/** A whole page. */
export function page(title: string, content: Markup): Markup {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · Inturn</title>
<style>${raw(STYLE)}</style>
</head>
<body>
<h1>${title}</h1>
${content}
</body>
</html>`;
}

/** A table: head cells, and one row of markup per row. */
export function table(head: readonly { label: string; number?: boolean }[], rows: readonly Markup[]): Markup {
  return html`<div class="table"><table>
<thead><tr>${head.map(({ label, number }) => html`<th scope="col" class="${number === true ? "number" : ""}">${label}</th>`)}</tr></thead>
<tbody>${rows}</tbody>
</table></div>`;
}

/** A duration for people: `820 ms`, `20.1 s`. */
export function duration(ms: number | null): string {
  if (ms === null) return "–";
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

/** PostgreSQL's timestamp as a time of day with milliseconds, in the server's zone. */
export function timeOfDay(timestamp: string | null): string {
  return timestamp === null ? "–" : (/\d\d:\d\d:\d\d(\.\d{1,3})?/.exec(timestamp)?.[0] ?? timestamp);
}
