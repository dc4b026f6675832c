/**
 * Where accounts lie, as the cells themselves say: each has the map of all buckets, and the higher epoch is right about a bucket.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type KnownCells, mapOf, mergeMaps, readCells } from "../db/cells.ts";
import type { Database } from "../db/pool.ts";
import type { CellMap } from "../domain/cell.ts";
import { commandLine } from "../errors/command-line.ts";
import { isNotMigrated } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";

/** A cell that has not answered after this long is taken for away. */
const ANSWER_MS_MAX = 1_000;

/** Between two looks at the map, which changes when a bucket was moved. */
const LOOK_MS = 2_000;

/** Who asks for accounts that are nowhere must not have the cells asked all the time. */
const RELOAD_MS = 100;

/** What the directory stands on. */
export interface CellDirectoryOptions {
  /** The database of each cell, by its name. */
  readonly databases: ReadonlyMap<string, Database>;
  readonly log: Log;
}

/** Knows the map as soon as one cell has told it, and keeps it fresh. */
export class CellDirectory {
  readonly #options: CellDirectoryOptions;
  readonly #closing = new AbortController();
  /** What each cell said last. */
  readonly #known = new Map<string, KnownCells>();
  readonly #wrong = new Set<string>();
  #map: CellMap | undefined;
  #looking: Promise<void> = Promise.resolve();
  #reloading: Promise<void> | undefined;
  #reloadedMs = Number.NEGATIVE_INFINITY;

  constructor(options: CellDirectoryOptions) {
    this.#options = options;
  }

  /** For each bucket its cell. Throws InturnError `database_unavailable` until a cell has told it. */
  get map(): CellMap {
    if (this.#map !== undefined) return this.#map;
    throw new InturnError("database_unavailable", "No cell has said yet where accounts lie; nothing was stored.");
  }

  /**
   * Asks all cells. Those that are away by now are asked again later, and what is wrong with them then is logged.
   *
   * @throws InturnError `cells_differ`, or `database_not_migrated`, when what a cell says does not fit
   */
  async open(): Promise<void> {
    for (const error of await this.#askAll()) throw error;
    this.#looking = this.#look();
  }

  /** Asks all cells again, unless that was just done: somebody was sent to the wrong one. */
  async reload(): Promise<void> {
    if (performance.now() - this.#reloadedMs < RELOAD_MS) return;
    this.#reloading ??= this.#askAll().then(() => {
      this.#reloadedMs = performance.now();
      this.#reloading = undefined;
    });
    await this.#reloading;
  }

  /** Asks no more. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      for (const error of await this.#askAll())
        this.#options.log.error({ err: error }, "a cell does not fit the others");
    }
  }

  /** Answers what is wrong, each thing once. */
  async #askAll(): Promise<InturnError[]> {
    const names = [...this.#options.databases.keys()];
    const asked = [...this.#options.databases].map(async ([name, database]) => {
      const known = await answerOr(
        null,
        readCells(database).catch((error: unknown) => this.#explain(name, error)),
      );
      if (known === null) return undefined;
      const wrong = known instanceof InturnError ? known : findMisfit(name, known, names);
      if (wrong === undefined) this.#known.set(name, known as KnownCells);
      return this.#once(name, wrong);
    });
    const wrong = await Promise.all(asked);
    if (this.#known.size > 0) this.#map = mapOf(mergeMaps([...this.#known.values()]));
    return wrong.filter((error) => error !== undefined);
  }

  #once(name: string, wrong: InturnError | undefined): InturnError | undefined {
    const isNew = wrong !== undefined && !this.#wrong.has(name);
    if (wrong === undefined) this.#wrong.delete(name);
    else this.#wrong.add(name);
    return isNew ? wrong : undefined;
  }

  /** What is wrong with a cell that answers; null for one that does not. */
  #explain(name: string, error: unknown): InturnError | null {
    if (isNotMigrated(error)) {
      return new InturnError(
        "database_not_migrated",
        `The database of cell ${name} lacks our tables of this version. Run: ${commandLine("cells", "init")}`,
        { cause: error },
      );
    }
    this.#options.log.debug({ err: error, cell: name }, "a cell does not answer");
    return null;
  }
}

/** What a cell answers, or something else when it takes too long: nobody waits longer for one that may be away. */
export async function answerOr<Answer, Other>(other: Other, answer: Promise<Answer>): Promise<Answer | Other> {
  return await Promise.race([answer, sleep(ANSWER_MS_MAX, other, { ref: false })]);
}

/**
 * Holds what the database of a cell says against the settings.
 *
 * @param names of the cells of the settings
 * @returns an error `cells_differ` that says what does not fit
 */
export function findMisfit(
  name: string,
  known: KnownCells | undefined,
  names: readonly string[],
): InturnError | undefined {
  const differ = (message: string) => new InturnError("cells_differ", message);
  if (known === undefined)
    return differ(`The database of cell ${name} is no cell yet. Run: ${commandLine("cells", "init")}`);
  if (known.here !== name)
    return differ(
      `INTURN_CELLS calls a database ${name} that calls itself ${known.here}: an address stands beside the wrong name.`,
    );
  const foreign = known.buckets.find(({ cell }) => !names.includes(cell));
  if (foreign !== undefined)
    return differ(`Accounts lie in the cell ${foreign.cell} too, and INTURN_CELLS does not have it.`);
  return undefined;
}
