/**
 * The server in front of several cells: it takes events for all of them, passes what concerns one account on to its cell, and has each
 * cell's whole API and dashboard under `/cells/{cell}`.
 */
import type { Context, Hono } from "hono";
import type { Appender } from "../engine/append.ts";
import { InturnError } from "../errors/error.ts";
import { type CellApp, createAcrossRoutes, OF_EACH_CELL } from "./across.ts";
import { createDocs, createIngestRoutes, createServerApp, type ServerOptions } from "./app.ts";
import type { IngestLimits } from "./event-schema.ts";
import { type CellReadiness, createFrontReadinessRoute, createLivenessRoute } from "./health.ts";
import { createMetricsRoute } from "./metrics.ts";
import type { Pages } from "./pages.ts";
import type { ApiEnvironment } from "./route.ts";

/** What the front stands on. */
export interface FrontOptions extends ServerOptions {
  /** Hands events to their cells. */
  readonly appender: Appender;
  readonly limits: IngestLimits;
  /** The API of each cell, by its name. */
  readonly cells: ReadonlyMap<string, CellApp>;
  /** The name of an account's cell. Throws while nobody knows. */
  readonly cellOf: (accountId: string) => string;
  /** Reads anew which that is. */
  readonly reload: () => Promise<void>;
  readonly readiness: () => Promise<CellReadiness>;
  readonly exposeMetrics: () => Promise<string>;
  readonly pages: Pages;
}

/** Where a cell's API is, in the front's. */
export function mountOf(cell: string): string {
  return `/cells/${cell}`;
}

/** Creates the front. */
export function createFront(options: FrontOptions): Hono<ApiEnvironment> {
  const { cells } = options;
  const [anyCell] = cells.values();
  const missing = new InturnError(
    "cell_needed",
    `There is nothing at this path for all cells. Of one cell it may be asked under ${[...cells.keys()].map(mountOf).join(", ")}.`,
  );
  const app = createServerApp(options, {
    routes: [
      ...createIngestRoutes(options),
      ...createAcrossRoutes(cells),
      createLivenessRoute(),
      createFrontReadinessRoute(options.readiness),
      createMetricsRoute(options.exposeMetrics),
    ],
    docs: createDocs(),
    pages: options.pages,
    missing,
  });
  app.all("/cells/:cell/*", (c) => passOn(c, requireCell(cells, c.req.param("cell"))));
  app.all("/cells/:cell", (c) => {
    const name = c.req.param("cell");
    requireCell(cells, name);
    return c.redirect(`${options.basePath ?? ""}${mountOf(name)}/`);
  });
  for (const name of OF_EACH_CELL) {
    app.post(`/v1/${name}`, () => {
      throw missing;
    });
  }
  app.all("/v1/accounts/:id", (c) => ofAccount(c, options, c.req.param("id")));
  app.all("/v1/accounts/:id/*", (c) => ofAccount(c, options, c.req.param("id")));
  // The description is the same in all.
  app.get("/openapi.json", (c) => (anyCell === undefined ? c.notFound() : passOn(c, anyCell)));
  return app;
}

/** Answered by the account's cell. One that does not know it may have had it until a moment ago. */
async function ofAccount(
  c: Context<ApiEnvironment>,
  { cells, cellOf, reload }: FrontOptions,
  accountId: string,
): Promise<Response> {
  const asked = cellOf(accountId);
  const answer = await passOn(c, requireCell(cells, asked));
  if (answer.status !== 404 || c.req.method !== "GET") return answer;
  await reload();
  const found = cellOf(accountId);
  return found === asked ? answer : await passOn(c, requireCell(cells, found));
}

function passOn(c: Context<ApiEnvironment>, cell: CellApp): Response | Promise<Response> {
  return cell.fetch(c.req.raw, c.env);
}

function requireCell(cells: FrontOptions["cells"], name: string): CellApp {
  const cell = cells.get(name);
  if (cell !== undefined) return cell;
  throw new InturnError(
    "cell_needed",
    `There is no cell ${JSON.stringify(name.slice(0, 40))}; there are ${[...cells.keys()].join(", ")}.`,
  );
}
