/**
 * The parts as processes of their own: one API and some workers, of each cell as many where there are cells.
 */
import { cellsOf } from "../config/cell-settings.ts";
import { type Settings, toEnvironment } from "../config/settings.ts";
import { InturnError } from "../errors/error.ts";
import { KILL_MS, Part, type ReadyMessage } from "./part.ts";
import { metricsPortOf } from "./work-options.ts";

/** A running fleet. */
export interface Fleet {
  /** Where the API listens. */
  readonly url: string;
  /** How often a part had to be started again. */
  restarts(): number;
  /** How many worker processes there are. */
  readonly workers: number;
  /** Kills the nth worker, as an accident would; it is started again. */
  killWorker(index: number): void;
  /** Tells every part to stop and waits for it; told again, it waits no longer for the events in hand. */
  stop(): Promise<void>;
}

/** What a fleet is made of. */
export interface FleetOptions {
  readonly settings: Settings;
  /** Where the settings name none; undefined with cells. */
  readonly databaseUrl: string | undefined;
  /** Of each cell, where there are cells. */
  readonly workers: number;
  /** Hears what a person should know. */
  readonly say: (line: string) => void;
}

/**
 * Starts the API and the workers; resolves when all of them work.
 *
 * @throws InturnError `process_failed` when one of them ends before it has worked
 */
export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const { settings, databaseUrl, workers } = options;
  const environment = toEnvironment({ ...settings, databaseUrl: settings.databaseUrl ?? databaseUrl }, process.env);
  const stopping = new AbortController();
  const cells = cellsOf(settings)?.map(({ name }) => ({ INTURN_CELL: name })) ?? [{}];
  const workerParts = cells
    .flatMap((cell) => Array.from({ length: workers }, () => cell))
    .map(
      (cell, i) =>
        new Part({
          command: "work",
          environment: { ...environment, ...cell, INTURN_METRICS_PORT: metricsPortOf(settings, i)?.toString() },
        }),
    );
  const parts = [new Part({ command: "serve", environment }), ...workerParts];
  const stop = async () => {
    stopping.abort();
    await Promise.all(parts.map((part) => part.stop(settings.shutdownMs + KILL_MS)));
  };
  try {
    const [{ url }] = (await Promise.all(parts.map((part) => part.start()))) as [ReadyMessage];
    if (url === undefined) throw new InturnError("process_failed", "The API did not say where it listens.");
    // Started again, the API has to be where its clients look for it.
    parts[0]?.moveTo({ PORT: new URL(url).port });
    for (const part of parts) void part.keepAlive(stopping.signal, options.say);
    return {
      url,
      restarts: () => parts.reduce((sum, part) => sum + part.restarts, 0),
      workers: workerParts.length,
      killWorker: (index) => workerParts[index]?.kill(),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
