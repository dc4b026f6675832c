/**
 * The API process's part in front of several cells: the whole API of each, and what takes events for all.
 */
import type { Cell } from "../config/cell-settings.ts";
import type { Settings } from "../config/settings.ts";
import { createCellsPages, type ShownCell } from "../dashboard/cells.ts";
import type { Pulse } from "../db/pulse.ts";
import { APPEND_EVENTS_MAX } from "../domain/event.ts";
import type { Access, AccessBook } from "../engine/access.ts";
import { createAppender } from "../engine/append.ts";
import { cellOf } from "../engine/bucket.ts";
import type { OpenTo } from "../http/access.ts";
import { createFront, mountOf } from "../http/front.ts";
import { type CellReadiness, requireReady } from "../http/health.ts";
import { toInturnError } from "../http/problem.ts";
import type { Log } from "../log/log.ts";
import { ApiMetrics } from "../metrics/api-metrics.ts";
import { listenAs } from "./api.ts";
import { createCellAppender } from "./cell-appender.ts";
import { answerOr, CellDirectory } from "./cell-directory.ts";
import { type ApiPools, type ComposedApi, composeApi, openApiPools } from "./compose-api.ts";
import type { Listening } from "./listening.ts";
import { openToWhom, sayIfOpen } from "./open-access.ts";
import type { PortShare } from "./port-share.ts";

/** What the front is made of. */
export interface FrontOptions {
  readonly settings: Settings;
  readonly cells: readonly Cell[];
  readonly log: Log;
}

interface OpenCell {
  readonly name: string;
  readonly pools: ApiPools;
  readonly api: ComposedApi;
  readonly appender: ReturnType<typeof createAppender>;
  readonly metrics: ApiMetrics;
}

/**
 * Starts it. It listens also while cells are away: their accounts are answered 503, those of the others are served.
 *
 * @param share of this process, when it is one of several on one port
 * @throws InturnError what `CellDirectory.open`, `openToWhom` and `listen` throw
 */
export async function startFront({ settings, cells, log }: FrontOptions, share?: PortShare): Promise<Listening> {
  const pools = new Map(
    cells.map(({ name, url }) => [name, openApiPools({ settings, databaseUrl: url, log: log.child({ cell: name }) })]),
  );
  const directory = new CellDirectory({
    databases: new Map([...pools].map(([name, { ingest }]) => [name, ingest])),
    log,
  });
  const opened: OpenCell[] = [];
  try {
    await directory.open();
    const [openTo = "nobody"] = await Promise.all(
      [...pools.values()].map(({ ingest }) => openToWhom(ingest, settings, log)),
    );
    for (const [name, ofCell] of pools) opened.push(openCell(name, ofCell, { settings, log, openTo, share }));
    const access = firstOf(opened.map(({ api }) => api.access));
    const cellsMetrics = opened.map((cell) => cell.metrics);
    const metrics = new ApiMetrics({ hasProcess: true, share: share?.metrics, cells: cellsMetrics });
    const front = createFront({
      appender: createCellAppender({
        map: () => directory.map,
        reload: () => directory.reload(),
        appenders: new Map(opened.map(({ name, appender }) => [name, appender])),
      }),
      cells: new Map(opened.map(({ name, api }) => [name, api.app])),
      cellOf: (accountId) => cellOf(directory.map, accountId),
      reload: () => directory.reload(),
      limits: { ...settings, batchEventsMax: APPEND_EVENTS_MAX },
      log,
      access,
      openTo,
      basePath: settings.basePath,
      readiness: () => readReadiness(opened),
      exposeMetrics: async () =>
        await metrics.exposeAll(await Promise.all(opened.map(async (cell) => [cell.metrics, await readPulse(cell)]))),
      onRefused: (code) => metrics.refused(code),
      pages: {
        ...createCellsPages(
          () => readShownCells(opened, directory),
          opened.map((cell) => cell.pools.database),
        ),
        formSecret: share?.formSecret,
        menu: { entries: [["/", "Cells"], ...cells.map(({ name }) => [`${mountOf(name)}/`, name] as const)] },
      },
    });
    const server = await listenAs(settings, { fetch: front.fetch, isShared: share !== undefined, log });
    log.info({ url: server.url, cells: cells.map(({ name }) => name) }, "listening");
    void sayIfOpen(access, openTo, log);
    return { url: server.url, close: () => close(server) };
  } catch (error) {
    await close();
    throw error;
  }

  async function close(listening?: Listening): Promise<void> {
    for (const { api } of opened) api.beginClose();
    await listening?.close();
    await Promise.all([directory.close(), ...opened.map(({ api }) => api.closed())]);
    await Promise.all([...pools.values()].map((each) => each.end()));
  }
}

function openCell(
  name: string,
  pools: ApiPools,
  { settings, log, openTo, share }: Omit<FrontOptions, "cells"> & { openTo: OpenTo; share: PortShare | undefined },
): OpenCell {
  const metrics = new ApiMetrics({ cell: name });
  const appender = createAppender(pools.ingest, settings, metrics);
  const api = composeApi(
    { settings, log: log.child({ cell: name }) },
    {
      pools,
      appender,
      metrics,
      openTo,
      formSecret: share?.formSecret,
      mount: mountOf(name),
      menu: { within: { href: `${settings.basePath}/`, name } },
    },
  );
  return { name, pools, api, appender, metrics };
}

/** Keys and sources are the same in every cell: what one knows is enough. */
function firstOf(accesses: readonly Access[]): Access {
  const [first, ...others] = accesses as [Access, ...Access[]];
  return () => {
    const book = first();
    return !(book instanceof Promise) && knows(book) ? book : findBook(book, others);
  };
}

async function findBook(first: ReturnType<Access>, others: readonly Access[]): Promise<AccessBook> {
  let book = await first;
  for (const access of others) {
    if (knows(book)) return book;
    book = await access();
  }
  return book;
}

/** A book of which the database has told nothing throws when it is asked. */
function knows(book: AccessBook): boolean {
  try {
    book.sourceOf("");
    return true;
  } catch {
    return false;
  }
}

async function readReadiness(cells: readonly OpenCell[]): Promise<CellReadiness> {
  const states = cells.map(async ({ name, pools }) => {
    const ready = requireReady(pools.ingest).then(() => "ready");
    const state = ready.catch((error: unknown) => toInturnError(error).code);
    return [name, await answerOr("database_unavailable", state)];
  });
  return Object.fromEntries(await Promise.all(states)) as CellReadiness;
}

async function readShownCells(cells: readonly OpenCell[], directory: CellDirectory): Promise<ShownCell[]> {
  return await Promise.all(
    cells.map(async (cell) => {
      const { name } = cell;
      const buckets = directory.map.filter((each) => each === name).length;
      return { name, path: mountOf(name), buckets, pulse: await readPulse(cell) };
    }),
  );
}

/** Undefined for a cell that is away. */
async function readPulse({ api }: OpenCell): Promise<Pulse | undefined> {
  return await answerOr(
    undefined,
    api.latestPulse().catch(() => undefined),
  );
}
