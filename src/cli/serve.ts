import { setTimeout as sleep } from "node:timers/promises";
import { Command, type Option } from "commander";
import { type Cell, cellsOf } from "../config/cell-settings.ts";
import { routeOf } from "../config/database-settings.ts";
import { readSettings, type Settings } from "../config/settings.ts";
import { createLog, type Log } from "../log/log.ts";
import { startApi } from "../service/api.ts";
import { startApiProcesses } from "../service/api-processes.ts";
import { useDatabase } from "../service/database.ts";
import { startFront } from "../service/front.ts";
import type { Listening } from "../service/listening.ts";
import type { ReadyMessage } from "../service/part.ts";
import { joinPort, type PortShare } from "../service/port-share.ts";
import { flushSpans } from "../trace/tracer.ts";
import { wholeNumberOption } from "./options.ts";
import { say } from "./output.ts";
import { listenForStop, unlessStopped, untilAborted } from "./stop.ts";

/** A database that has not answered after this long is taken for away. */
const CHECK_MS_MAX = 1_000;

interface ServeFlags {
  readonly host?: string;
  readonly port?: number;
  readonly processes?: number;
  readonly number?: number;
}

/** Which process of several on one port this is. For them only. */
function createNumberOption(): Option {
  return wholeNumberOption("--number <number>", "", { least: 1, most: 64 }).hideHelp();
}

/** `serve`: the HTTP API. */
export function createServeCommand(): Command {
  return new Command("serve")
    .option("--host <address>", "the address to listen on (HOST, 127.0.0.1)")
    .addOption(
      wholeNumberOption("--port <number>", "the port, 0 for a free one (PORT, 8000)", { least: 0, most: 65_535 }),
    )
    .addOption(
      wholeNumberOption("--processes <number>", "processes that share the port (INTURN_API_PROCESSES, 1)", {
        least: 1,
        most: 64,
      }),
    )
    .addOption(createNumberOption())
    .action(async ({ processes: apiProcesses, number, ...flags }: ServeFlags) => {
      const settings = readSettings(process.env, { ...flags, apiProcesses });
      const stop = listenForStop();
      const serving = { settings, stop, number, log: createLog({ level: settings.logLevel, name: "serve" }) };
      const cells = cellsOf(settings);
      try {
        await (cells === undefined ? serveDatabase(serving) : serveCells(serving, cells));
      } finally {
        await flushSpans();
      }
    });
}

interface Serving {
  readonly settings: Settings;
  readonly stop: AbortSignal;
  readonly log: Log;
  /** Of several processes on one port. */
  readonly number: number | undefined;
}

async function serveDatabase(serving: Serving): Promise<void> {
  const { settings, stop, log } = serving;
  // It listens also while its database is away: then it answers 503, and tries again. One that answers is checked first.
  const database = useDatabase({ settings, migrate: false, say, whenAway: stop });
  database.catch(() => undefined);
  try {
    await Promise.race([database, sleep(CHECK_MS_MAX, undefined, { ref: false })]);
    const route = routeOf(settings);
    const databaseUrl = route.databaseUrl ?? (await database).url;
    await serve(serving, {
      databaseUrl,
      start: (share) => startApi({ settings, ...route, databaseUrl, log }, share),
      ready: database,
    });
  } finally {
    await database.then(
      (ready) => ready.release(),
      () => undefined,
    );
  }
}

async function serveCells(serving: Serving, cells: readonly Cell[]): Promise<void> {
  const { settings, log } = serving;
  await serve(serving, { start: (share) => startFront({ settings, cells, log }, share) });
}

interface Served {
  readonly databaseUrl?: string;
  readonly start: (share: PortShare | undefined) => Promise<Listening>;
  /** Rejects when it cannot be served after all. */
  readonly ready?: Promise<unknown>;
}

/** Starts it, as several processes where the settings ask for that, and ends it when that is asked for. */
async function serve({ settings, stop, number, log }: Serving, { databaseUrl, start, ready }: Served): Promise<void> {
  // Who has no keeper to hear is alone.
  const isShared = number !== undefined && process.send !== undefined;
  const isKeeper = number === undefined && settings.apiProcesses > 1;
  const api = isKeeper
    ? await startApiProcesses({ settings, databaseUrl, log, say })
    : await start(isShared ? await joinPort(number) : undefined);
  try {
    process.send?.({ ready: true, url: api.url } satisfies ReadyMessage);
    if (ready !== undefined) await unlessStopped(stop, ready);
    await untilAborted(stop);
  } finally {
    await api.close();
  }
}
