/**
 * `/docs`: the description as a page to try things on. Everything it needs is served from here.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, extname, join } from "node:path";
import type { Handler } from "hono";
import { html } from "hono/html";

/** The files of Swagger UI that the page needs. */
const FILES = {
  "swagger-ui.css": "text/css; charset=utf-8",
  "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
} as const;

/** Starts Swagger UI; a file of its own, so that the page needs no script in its text. */
const START = `SwaggerUIBundle({ url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null });\n`;

/** Swagger UI sets styles in its elements and draws pictures from data; everything else comes from this server. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const CACHED = "public, max-age=86400";

/**
 * The built program has the files beside it (tools/copy-assets.ts): whoever installs us need not install Swagger UI, whose package
 * runs a script of its own. The sources find them in the project's development tools.
 */
function findFolder(): string {
  if (extname(import.meta.filename) === ".js") return join(import.meta.dirname, "swagger-ui");
  return dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));
}

/** The page and its files, by path. */
export function createDocsPages(): Record<string, Handler> {
  const folder = findFolder();
  const pages: Record<string, Handler> = {
    "/docs": (c) => {
      c.header("Content-Security-Policy", POLICY);
      c.header("X-Content-Type-Options", "nosniff");
      return c.html(html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Inturn: HTTP API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<style>
body { margin: 0; background: #fff }
nav { padding: 0.75rem 1.25rem; font: 1rem system-ui, sans-serif }
nav a { color: #2456d6 }
@media (prefers-color-scheme: dark) { html { filter: invert(0.92) hue-rotate(180deg); background: #fff } }
</style>
</head>
<body>
<nav><a href="./">← Dashboard</a></nav>
<div id="docs"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>`);
    },
    "/docs/start.js": (c) => c.body(START, 200, { "content-type": FILES["swagger-ui-bundle.js"] }),
  };
  for (const [name, type] of Object.entries(FILES)) {
    let text: string | undefined;
    pages[`/docs/${name}`] = (c) => {
      text ??= readFileSync(join(folder, name), "utf8");
      return c.body(text, 200, { "content-type": type, "cache-control": CACHED, "x-content-type-options": "nosniff" });
    };
  }
  return pages;
}
