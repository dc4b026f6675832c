/**
 * What one worker knows of the pauses that cover more than one account. It hears of a new list with the renewals of its lease (see
 * life.ts), before the lease counts as good again.
 */
import { type PauseList, readPauses, tendPauses } from "../db/pauses.ts";
import type { Database, Queryable } from "../db/pool.ts";
import { covers, type Pause } from "../domain/pause.ts";

/** Between two looks at what is to be done, of which only some ask the database. */
const LOOK_MS = 100;

/** Who had not heard of the end of a pause yet may have let an account rest after it: it is looked for this often. */
const FORGOTTEN_MS = 5_000;

/** How late a pause may end whose time is over. */
const UNTIL_MS = 1_000;

/** For this long after a change of the list each look asks the database. */
const CHANGED_MS = 3_000;

/** One worker's view of the pauses. */
export class PauseWatch {
  readonly #database: Database;
  #list: PauseList | undefined;
  #changedMs = Number.NEGATIVE_INFINITY;
  #tendedMs = Number.NEGATIVE_INFINITY;
  #isBusy = false;

  constructor(database: Database) {
    this.#database = database;
  }

  /** The version of the list that it goes by; null before it has read one. */
  get version(): number | null {
    return this.#list?.version ?? null;
  }

  /** Reads the list over this connection, and goes by it from then on. */
  async read(connection: Queryable): Promise<void> {
    this.#list = await readPauses(connection);
    this.#changedMs = performance.now();
  }

  /**
   * The pause because of which an event may not start; undefined when it may.
   *
   * @param releasedBy the pause that has let the account go on for this event; begun anew since, it covers the event again
   */
  covering(accountId: string, type: string | null, releasedBy: number | null): Pause | undefined {
    const pauses = this.#list?.pauses;
    if (pauses === undefined || pauses.length === 0) return undefined;
    const isReleased = ({ id, rate }: Pause) => id === releasedBy && rate !== null;
    return pauses.find((pause) => covers(pause, accountId, type) && !isReleased(pause));
  }

  /** Does what the time has come for. Returns the ms to wait before the next look. */
  async tend(): Promise<number> {
    if (performance.now() - this.#tendedMs < this.#restMs()) return LOOK_MS;
    this.#isBusy = (await tendPauses(this.#database)) > 0;
    this.#tendedMs = performance.now();
    return LOOK_MS;
  }

  /** The time between two looks that ask the database. */
  #restMs(): number {
    const pauses = this.#list?.pauses ?? [];
    if (this.#isBusy || performance.now() - this.#changedMs < CHANGED_MS) return 0;
    if (pauses.some(({ rate }) => rate !== null)) return 0;
    return pauses.some(({ until }) => until !== null) ? UNTIL_MS : FORGOTTEN_MS;
  }
}
