/**
 * The way round a locked row. A batch that meets an account which somebody else holds must not wait for it: the items that
 * need the account leave the batch and wait here, one statement each, while the batches go on without them.
 */
import { setTimeout as sleep } from "node:timers/promises";

/** How items are taken round a lock. */
export interface DetourOptions<Item> {
  /** Whether an error says that a row was locked for too long. */
  readonly isLocked: (error: unknown) => boolean;
  /** The accounts that an item needs. */
  readonly accountsOf: (item: Item) => readonly string[];
  /** Which of these accounts are locked now. */
  readonly findLocked: (accountIds: readonly string[]) => Promise<ReadonlySet<string>>;
  /** An item that has waited this long fails with the error that the lock led to. */
  readonly waitMsMax: number;
}

/** One item on the detour. */
export interface Detoured<Item> {
  readonly item: Item;
  readonly weight: number;
  readonly sinceMs: number;
  /** Commits the item alone. Rejects only if a row was locked for too long; every other outcome is told to its caller. */
  readonly commit: () => Promise<void>;
  readonly giveUp: (error: unknown) => void;
}

/** Between two rounds of tries. */
const ROUND_MS = 20;

/** Items that wait for locked accounts, in the order in which they came. */
export class Detour<Item> {
  readonly #options: DetourOptions<Item>;
  #waiting: Detoured<Item>[] = [];
  #busy = false;

  constructor(options: DetourOptions<Item>) {
    this.#options = options;
  }

  /** The total weight of what waits here. */
  get weight(): number {
    return this.#waiting.reduce((sum, waiting) => sum + waiting.weight, 0);
  }

  /** Whether an item has to come here at once: it needs an account that others are waiting for. */
  blocks(item: Item): boolean {
    if (this.#waiting.length === 0) return false;
    const awaited = new Set(this.#waiting.flatMap((waiting) => this.#options.accountsOf(waiting.item)));
    return this.#options.accountsOf(item).some((accountId) => awaited.has(accountId));
  }

  /** Takes items in; each is committed alone, as soon as its accounts are free. */
  add(items: readonly Detoured<Item>[]): void {
    this.#waiting.push(...items);
    if (this.#busy) return;
    this.#busy = true;
    void this.#run();
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      await this.#tryAll();
      if (this.#waiting.length > 0) await sleep(ROUND_MS);
    }
    this.#busy = false;
  }

  /** One try for each item, except behind one that needs the same account: an account's items keep their order. */
  async #tryAll(): Promise<void> {
    const held = new Set<string>();
    const done = new Set<Detoured<Item>>();
    for (const waiting of this.#waiting.slice()) {
      const accounts = this.#options.accountsOf(waiting.item);
      const isFree = accounts.every((accountId) => !held.has(accountId)) && (await this.#try(waiting));
      if (isFree) done.add(waiting);
      else for (const accountId of accounts) held.add(accountId);
    }
    // What came in meanwhile stands behind these.
    this.#waiting = this.#waiting.filter((waiting) => !done.has(waiting));
  }

  /** Whether the item is done with, in whichever way. */
  async #try(waiting: Detoured<Item>): Promise<boolean> {
    try {
      await waiting.commit();
      return true;
    } catch (error) {
      if (performance.now() - waiting.sinceMs < this.#options.waitMsMax) return false;
      waiting.giveUp(error);
      return true;
    }
  }
}
