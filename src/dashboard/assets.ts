/**
 * What pages load: our own files and those of htmx and uPlot, all from this server. Their addresses carry what they hold, so
 * that browsers may keep them.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { DashboardPage } from "./page.ts";

const require = createRequire(import.meta.url);

const TYPES = {
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml; charset=utf-8",
} as const;

const own = (name: string) => join(import.meta.dirname, "assets", name);

const of = (library: string, ...path: string[]) => join(dirname(require.resolve(`${library}/package.json`)), ...path);

const FILES: Readonly<Record<string, readonly string[]>> = {
  "style.css": [own("style.css")],
  "live.js": [own("live.js")],
  "charts.js": [own("charts.js")],
  "lanes-time.js": [own("lanes-time.js")],
  "lanes-zoom.js": [own("lanes-zoom.js")],
  "lanes.js": [own("lanes.js")],
  "icon.svg": [own("icon.svg")],
  // One file: htmx starts soon after it is loaded, and knows nothing of an extension that comes a moment later.
  "htmx.js": [of("htmx.org", "dist", "htmx.min.js"), of("htmx.org", "dist", "ext", "hx-sse.min.js")],
  "uplot.js": [of("uplot", "dist", "uPlot.iife.min.js")],
  "uplot.css": [of("uplot", "dist", "uPlot.min.css")],
};

/** The files, read once. */
const CONTENTS = new Map(
  Object.entries(FILES).map(([name, paths]) => {
    const text = paths.map((path) => readFileSync(path, "utf8")).join("\n");
    return [name, { text, version: createHash("sha256").update(text).digest("hex").slice(0, 12) }];
  }),
);

/** Where a file is found, without the base path. */
export function assetPath(name: string): string {
  return `/assets/${name}?v=${CONTENTS.get(name)?.version ?? ""}`;
}

/** The files, each at its address. */
export const assetPages: readonly DashboardPage[] = [...CONTENTS].map(([name, { text, version }]) => ({
  method: "GET",
  path: `/assets/${name}`,
  access: "open",
  handle: (c) => {
    c.header("Content-Type", TYPES[name.split(".").at(-1) as keyof typeof TYPES]);
    const isThisOne = c.req.query("v") === version;
    c.header("Cache-Control", isThisOne ? "public, max-age=31536000, immutable" : "no-cache");
    return c.body(text);
  },
}));
