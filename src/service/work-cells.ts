import type { Cell } from "../config/cell-settings.ts";
import type { Settings } from "../config/settings.ts";
import type { InturnError } from "../errors/error.ts";
import { toInturnError } from "../http/problem.ts";
import type { Log } from "../log/log.ts";
import { loadNamedHandler } from "./compose-handler.ts";
import { type RunningWorker, startWorker } from "./work.ts";
import { metricsPortOf } from "./work-options.ts";

/** What the workers are composed of. */
export interface WorkCellsOptions {
  readonly settings: Settings;
  readonly cells: readonly Cell[];
  readonly log: Log;
  /** Aborts the wait for cells that are away. */
  readonly signal: AbortSignal;
}

/**
 * Starts a worker for each cell, all in this process and with one handler. Each has connections, accounts in hand and a port for its metrics
 * of its own. Resolves when one of them works: a cell that is away keeps nobody from the others, and is waited for.
 *
 * @throws InturnError what makes it senseless to go on in one of them
 */
export async function startWorkerOfCells({
  settings,
  cells,
  log,
  signal,
}: WorkCellsOptions): Promise<Omit<RunningWorker, "exposeMetrics">> {
  const handler = await loadNamedHandler(settings, signal);
  const closing = new AbortController();
  const { promise: failed, resolve: fail } = Promise.withResolvers<InturnError>();
  const workers: RunningWorker[] = [];
  const starts = cells.map((cell, i) =>
    start(cell, i).catch((error: unknown) => {
      const reason = toInturnError(error);
      fail(reason);
      return reason;
    }),
  );
  const stop = async () => {
    closing.abort();
    await Promise.all(starts);
    await Promise.all(workers.map((worker) => worker.stop()));
  };
  const first = await Promise.race(starts);
  if (first !== undefined) {
    await stop();
    signal.throwIfAborted();
    throw first;
  }
  return {
    metricsUrl: workers[0]?.metricsUrl,
    failed,
    stop,
    forceStop: async () => void (await Promise.all(workers.map((worker) => worker.forceStop()))),
  };

  async function start({ name, url: databaseUrl }: Cell, index: number): Promise<undefined> {
    const worker = await startWorker({
      settings: { ...settings, metricsPort: metricsPortOf(settings, index) },
      databaseUrl,
      handler,
      log: log.child({ cell: name }),
      signal: AbortSignal.any([signal, closing.signal]),
    });
    workers.push(worker);
    void worker.failed.then(fail);
  }
}
