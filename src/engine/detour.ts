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
  /** More items than this do not wait: they fail at once. */
  readonly itemsMax: number;
  /** Whether it is no use to wait any longer. */
  readonly isHopeless?: () => boolean;
}

/** One item on the detour. */
export interface Detoured<Item> {
  readonly item: Item;
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
  /** How many items wait for each account. */
  readonly #awaited = new Map<string, number>();
  #busy = false;

  constructor(options: DetourOptions<Item>) {
    this.#options = options;
  }

  /** Whether an item has to come here at once: it needs an account that others are waiting for. */
  blocks(item: Item): boolean {
    return this.#awaited.size > 0 && this.#options.accountsOf(item).some((accountId) => this.#awaited.has(accountId));
  }

  /** Takes items in; each is committed alone, as soon as its accounts are free. */
  add(items: readonly Detoured<Item>[]): void {
    this.#waiting.push(...items);
    for (const { item } of items) this.#count(item, 1);
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
    const held = new Map<string, unknown>();
    const done = new Set<Detoured<Item>>();
    for (const waiting of this.#waiting.slice()) {
      const accounts = this.#options.accountsOf(waiting.item);
      const before = accounts.find((accountId) => held.has(accountId));
      const locked = before === undefined ? await this.#try(waiting) : { error: held.get(before) };
      if (locked === undefined || this.#giveUp(waiting, locked.error)) done.add(waiting);
      if (locked !== undefined) for (const accountId of accounts) held.set(accountId, locked.error);
    }
    // What came in meanwhile stands behind these.
    this.#waiting = this.#waiting.filter((waiting) => !done.has(waiting));
    for (const { item } of done) this.#count(item, -1);
  }

  /** Undefined when the item is done with; otherwise the error that the lock led to. */
  async #try(waiting: Detoured<Item>): Promise<{ error: unknown } | undefined> {
    try {
      await waiting.commit();
      return undefined;
    } catch (error) {
      return { error };
    }
  }

  /** Whether the item has waited for too long. */
  #giveUp(waiting: Detoured<Item>, error: unknown): boolean {
    const { waitMsMax, itemsMax, isHopeless } = this.#options;
    const hasTime = performance.now() - waiting.sinceMs < waitMsMax;
    if (hasTime && this.#waiting.length <= itemsMax && isHopeless?.() !== true) return false;
    waiting.giveUp(error);
    return true;
  }

  #count(item: Item, change: 1 | -1): void {
    for (const accountId of this.#options.accountsOf(item)) {
      const count = (this.#awaited.get(accountId) ?? 0) + change;
      if (count === 0) this.#awaited.delete(accountId);
      else this.#awaited.set(accountId, count);
    }
  }
}
