/**
 * Where accounts lie, as the cells themselves say: each has the map of all buckets.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type KnownCells, readCells } from "../db/cells.ts";
import type { Database } from "../db/pool.ts";
import type { CellMap } from "../domain/cell.ts";
import { commandLine } from "../errors/command-line.ts";
import { isNotMigrated } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";

/** A cell that has not answered after this long is taken for away. */
const CHECK_MS_MAX = 1_000;

/** Between two tries to ask a cell that is away. */
const RETRY_MS = 500;

/** What the directory stands on. */
export interface CellDirectoryOptions {
  /** The database of each cell, by its name. */
  readonly databases: ReadonlyMap<string, Database>;
  readonly log: Log;
}

/** Knows the map as soon as one cell has told it, and holds the others against it. */
export class CellDirectory {
  readonly #options: CellDirectoryOptions;
  readonly #closing = new AbortController();
  #asking: Promise<void> = Promise.resolve();
  #map: CellMap | undefined;

  constructor(options: CellDirectoryOptions) {
    this.#options = options;
  }

  /** For each bucket its cell. Throws InturnError `database_unavailable` until a cell has told it. */
  get map(): CellMap {
    if (this.#map !== undefined) return this.#map;
    throw new InturnError("database_unavailable", "No cell has said yet where accounts lie; nothing was stored.");
  }

  /**
   * Asks all cells. Resolves when all have answered, or after a second: those that are away are asked again and again, and what is
   * wrong with them then is logged.
   *
   * @throws InturnError `cells_differ`, or `database_not_migrated`, when what a cell says does not fit
   */
  async open(): Promise<void> {
    let isOpen = false;
    const checks = [...this.#options.databases].map(([name, database]) =>
      this.#check(name, database).catch((error: unknown) => {
        if (!isOpen) throw error;
        this.#options.log.error({ err: error, cell: name }, "a cell does not fit the others");
      }),
    );
    this.#asking = Promise.allSettled(checks).then(() => undefined);
    await Promise.race([Promise.all(checks), sleep(CHECK_MS_MAX, undefined, { ref: false })]);
    isOpen = true;
  }

  /** Asks no more. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#asking;
  }

  async #check(name: string, database: Database): Promise<void> {
    const known = await this.#ask(name, database);
    if (this.#closing.signal.aborted) return;
    if (known === undefined) {
      throw new InturnError(
        "cells_differ",
        `The database of cell ${name} is no cell yet. Run: ${commandLine("cells", "init")}`,
      );
    }
    requireFit(name, known, [...this.#options.databases.keys()], this.#map);
    this.#map ??= known.map;
  }

  async #ask(name: string, database: Database): Promise<KnownCells | undefined> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        return await readCells(database);
      } catch (error) {
        if (isNotMigrated(error)) {
          throw new InturnError(
            "database_not_migrated",
            `The database of cell ${name} lacks our tables of this version. Run: ${commandLine("cells", "init")}`,
            { cause: error },
          );
        }
        this.#options.log.debug({ err: error, cell: name }, "a cell does not answer");
      }
      await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined);
    }
    return undefined;
  }
}

/**
 * Holds what the database of a cell says against the settings, and against the map of the others.
 *
 * @param names of the cells of the settings
 * @param map of the others, once it is known
 * @throws InturnError `cells_differ`
 */
export function requireFit(
  name: string,
  known: KnownCells,
  names: readonly string[],
  map: CellMap | undefined = known.map,
): void {
  if (known.here !== name) {
    throw new InturnError(
      "cells_differ",
      `INTURN_CELLS calls a database ${name} that calls itself ${known.here}: an address stands beside the wrong name.`,
    );
  }
  const foreign = known.map.find((cell) => !names.includes(cell));
  if (foreign !== undefined) {
    throw new InturnError(
      "cells_differ",
      `Accounts lie in the cell ${foreign} too, and INTURN_CELLS does not have it.`,
    );
  }
  if (known.map.some((cell, bucket) => cell !== map[bucket])) {
    throw new InturnError("cells_differ", `Cell ${name} has another map of buckets than the others.`);
  }
}
