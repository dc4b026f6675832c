/**
 * Moving buckets from cell to cell while both work. What is settled is copied first; then the bucket is held for a moment, the rest is
 * copied, and the other cell has it. Each step is kept in the databases: a move that was interrupted is carried on, or undone, by the
 * next call.
 */
import { randomUUID } from "node:crypto";
import type { Cell } from "../config/cell-settings.ts";
import { type KnownBucket, mapOf, mergeMaps, readCells } from "../db/cells.ts";
import { copyRest, copySettled } from "../db/copy-bucket.ts";
import {
  arriveBucket,
  beginMove,
  cleanBucket,
  endMove,
  expectBucket,
  leaveBucket,
  type MovedBucket,
  sizeOfBucket,
  tellBucket,
  thawBucket,
} from "../db/move.ts";
import { type Database, openDatabase } from "../db/pool.ts";
import { type PlannedMove, planBalance } from "../domain/cell.ts";
import { InturnError } from "../errors/error.ts";
import { textOf } from "../errors/text.ts";
import { FREEZE_LOCK_MS_MAX, stopBucket } from "./stop-bucket.ts";

/** One statement of a move: a page of accounts, or a part of events. */
const STATEMENT_MS_MAX = 120_000;

/** What a move needs. */
export interface MoveOptions {
  readonly cells: readonly Cell[];
  /** How long handlers that run may take to end before the move is given up. */
  readonly waitMs: number;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: MoveProgress) => void;
}

/** The steps of a move, in their order. */
export const MOVE_STEPS = [
  "copying",
  "waiting for handlers",
  "copying the rest",
  "handing over",
  "cleaning up",
] as const;

/** One of {@link MOVE_STEPS}. */
type MoveStep = (typeof MOVE_STEPS)[number];

/** How far the move of a bucket is. */
export interface MoveProgress {
  readonly bucket: number;
  readonly step: MoveStep;
  readonly events: number;
}

/** What the move of a bucket came to. */
export interface Moved {
  readonly bucket: number;
  readonly from: string;
  readonly to: string;
  readonly accounts: number;
  readonly events: number;
  /** For how long no event of it was taken. */
  readonly frozenMs: number;
}

/** The cells of a move, connected. */
export class Mover {
  readonly #options: MoveOptions;
  readonly #databases: ReadonlyMap<string, Database>;

  constructor(options: MoveOptions) {
    this.#options = options;
    this.#databases = new Map(
      options.cells.map(({ name, url }) => [
        name,
        openDatabase({
          url,
          name: "inturn cells",
          connectionsMax: 2,
          statementMsMax: STATEMENT_MS_MAX,
          lockMsMax: FREEZE_LOCK_MS_MAX,
          onError: () => undefined,
        }),
      ]),
    );
  }

  /** Closes the connections. */
  async close(): Promise<void> {
    await Promise.all([...this.#databases.values()].map((database) => database.end()));
  }

  /**
   * Moves a bucket, or carries on with its move. When it fails before the bucket has left, the bucket stays where it is and goes on.
   *
   * @throws InturnError `move_failed`, or database errors as they come
   */
  async move({ bucket, to }: PlannedMove): Promise<Moved | undefined> {
    const { from, known } = await this.#find(bucket, to);
    if (from === to) return undefined;
    const [source, target] = [this.#databaseOf(from), this.#databaseOf(to)];
    let frozenMs = 0;
    if (known.cell === from) frozenMs = await this.#carry(bucket, { from, to, source, target, known });
    this.#report({ bucket, step: "handing over", events: 0 });
    const { epoch } = known.cell === from ? await this.#ask(from, bucket) : known;
    await arriveBucket(target, bucket, epoch);
    for (const [name, database] of this.#databases) if (name !== to) await tellBucket(database, bucket, to, epoch);
    this.#report({ bucket, step: "cleaning up", events: 0 });
    await cleanBucket(source, bucket, null);
    await endMove(source, bucket);
    const { accounts, events } = await sizeOfBucket(target, bucket);
    return { bucket, from, to, accounts, events, frozenMs };
  }

  /** Which buckets to move so that these cells have as many each, and no other cell has any. As few as possible. */
  async planBalance(names: readonly string[]): Promise<PlannedMove[]> {
    const known = await Promise.all([...this.#databases.values()].map((database) => readCells(database)));
    return planBalance(mapOf(mergeMaps(known.flatMap((each) => each ?? []))), names);
  }

  /** The cell that has the bucket, or has let it go and not ended the move yet. */
  async #find(bucket: number, to: string): Promise<{ from: string; known: KnownBucket }> {
    const names = [...this.#databases.keys()];
    const asked = await Promise.all(names.map(async (from) => ({ from, known: await this.#ask(from, bucket) })));
    const leaving = asked.find(({ from, known }) => known.cell !== from && known.movingTo !== null);
    if (leaving !== undefined && leaving.known.movingTo !== to) {
      throw new InturnError(
        "move_failed",
        `Bucket ${bucket} has left ${leaving.from} for ${leaving.known.movingTo}: end that move first, with --to ${leaving.known.movingTo}.`,
      );
    }
    const found = leaving ?? asked.find(({ from, known }) => known.cell === from);
    if (found !== undefined) return found;
    throw new InturnError("move_failed", `No cell has bucket ${bucket}.`);
  }

  async #ask(name: string, bucket: number): Promise<KnownBucket> {
    const known = (await readCells(this.#databaseOf(name)))?.buckets[bucket];
    if (known !== undefined) return known;
    throw new InturnError("cells_differ", `The database of cell ${name} is no cell yet, or has no bucket ${bucket}.`);
  }

  #databaseOf(name: string): Database {
    const database = this.#databases.get(name);
    if (database !== undefined) return database;
    throw new InturnError("cells_differ", `INTURN_CELLS has no cell ${name}.`);
  }

  #report(progress: MoveProgress): void {
    this.#options.onProgress?.(progress);
  }

  /** Up to where the source has let the bucket go. Answers for how many ms it was frozen. */
  async #carry(bucket: number, move: Carried): Promise<number> {
    const { source, target, known, to } = move;
    const moved = { bucket, mover: randomUUID() };
    // What an interrupted call has left; somebody who is at it can write nothing more after this.
    if (known.movingTo !== null) await thawBucket(source, bucket, null);
    if (!(await beginMove(source, moved, to)) || !(await expectBucket(target, moved)))
      throw new InturnError("move_failed", `Bucket ${bucket} is being moved by somebody else.`);
    try {
      await cleanBucket(target, bucket, moved.mover);
      return await this.#carryOver(moved, move);
    } catch (error) {
      // The answer to its leave may have been lost: what it left for must then not be touched.
      const stays = await thawBucket(source, bucket, moved.mover).catch(() => false);
      if (stays) await cleanBucket(target, bucket, moved.mover).catch(() => undefined);
      throw error instanceof InturnError || this.#options.signal.aborted
        ? error
        : new InturnError("move_failed", `Bucket ${bucket} stays in ${move.from}: ${textOf(error)}`, { cause: error });
    }
  }

  async #carryOver(moved: MovedBucket, { source, target, to }: Carried): Promise<number> {
    const { bucket } = moved;
    const { signal } = this.#options;
    let events = 0;
    const count = (step: MoveProgress["step"]) => (more: number) => {
      events += more;
      this.#report({ bucket, step, events });
    };
    this.#report({ bucket, step: "copying", events });
    const settled = await copySettled(source, target, { moved, signal, onCopied: count("copying") });
    const startedMs = await stopBucket(source, moved, {
      ...this.#options,
      onWait: () => this.#report({ bucket, step: "waiting for handlers", events: 0 }),
    });
    this.#report({ bucket, step: "copying the rest", events });
    await copyRest(source, target, { moved, settled, signal, onCopied: count("copying the rest") });
    if (!(await leaveBucket(source, moved, to)))
      throw new InturnError("move_failed", `Somebody else moves bucket ${bucket}, too; this move has given up.`);
    return performance.now() - startedMs;
  }
}

interface Carried {
  readonly from: string;
  readonly to: string;
  readonly source: Database;
  readonly target: Database;
  readonly known: KnownBucket;
}
