/**
 * The detour around locked rows. A batch must not wait for an account that another session has locked: the items that
 * need the account leave the batch and wait here, while the batches go on without them.
 *
 * One look asks which of all awaited accounts are still locked, and the items whose accounts are free are committed
 * together: an item waits for its own accounts only, and ten thousand locked ones cost a share of one connection.
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
  /** The total weight of what may wait; what does not fit beside it fails at once. */
  readonly waitingWeightMax: number;
  /** Whether it is no use to wait any longer. */
  readonly isHopeless?: () => boolean;
}

/** An item, as the group commit keeps it. */
export interface Detoured<Item> {
  readonly item: Item;
  readonly weight: number;
  readonly reject: (error: unknown) => void;
}

/** What the group commit does for its detour. */
export interface DetourActions<Entry> {
  /** Commits these together. Resolves with what tells their callers; rejects with the error of all of them. */
  readonly commit: (entries: readonly Entry[]) => Promise<() => void>;
  /** Tells the callers of these what an error that is no lock means to each. */
  readonly blame: (entries: readonly Entry[], error: unknown) => Promise<void>;
  /** The largest total weight of a batch. */
  readonly weightMax: number;
}

/** Between two looks, at least. */
const LOOK_MS = 20;

/** Accounts in one statement of a look. */
const LOOK_ACCOUNTS_MAX = 1_000;

/** Between two rounds that give up what has waited for too long, whatever the database is doing. */
const GIVE_UP_MS = 100;

interface Waiting<Entry> {
  readonly entry: Entry;
  readonly accounts: readonly string[];
  readonly sinceMs: number;
  /** Its accounts looked free, and it met a lock all the same: of a row that is not committed yet, say. */
  isDoubtful: boolean;
}

/** Items that wait for locked accounts, in the order in which they came. */
export class Detour<Item, Entry extends Detoured<Item>> {
  readonly #options: DetourOptions<Item>;
  readonly #actions: DetourActions<Entry>;
  readonly #waiting = new Set<Waiting<Entry>>();
  /** How many items wait for each account. */
  readonly #awaited = new Map<string, number>();
  readonly #underWay = new Set<Waiting<Entry>>();
  #weight = 0;
  #isRunning = false;
  /** What the database said of the last lock. */
  #error: unknown;

  constructor(options: DetourOptions<Item>, actions: DetourActions<Entry>) {
    this.#options = options;
    this.#actions = actions;
  }

  /** Whether anything waits here. */
  get isBusy(): boolean {
    return this.#waiting.size > 0;
  }

  /** Whether an item has to come here at once: it needs an account that others are waiting for. */
  blocks(item: Item): boolean {
    return this.isBusy && this.#options.accountsOf(item).some((accountId) => this.#awaited.has(accountId));
  }

  /** Takes items in; they are committed as soon as their accounts are free. @param error what the lock led to, if it is known */
  add(entries: readonly Entry[], error: unknown = this.#error): void {
    this.#error = error;
    for (const entry of entries) {
      if (this.isBusy && this.#weight + entry.weight > this.#options.waitingWeightMax) {
        entry.reject(error);
        continue;
      }
      const accounts = this.#options.accountsOf(entry.item);
      this.#waiting.add({ entry, accounts, sinceMs: performance.now(), isDoubtful: false });
      this.#weight += entry.weight;
      for (const accountId of accounts) this.#awaited.set(accountId, (this.#awaited.get(accountId) ?? 0) + 1);
    }
    if (!this.isBusy || this.#isRunning) return;
    this.#isRunning = true;
    void this.#run();
  }

  /** Which of these accounts are locked, in a bounded share at a time. A look that meets a lock itself has met all of them. */
  async findLocked(accountIds: readonly string[]): Promise<ReadonlySet<string>> {
    const locked = new Set<string>();
    for (let from = 0; from < accountIds.length; from += LOOK_ACCOUNTS_MAX) {
      const share = accountIds.slice(from, from + LOOK_ACCOUNTS_MAX);
      const found = await this.#options.findLocked(share).catch((error: unknown) => {
        if (this.#options.isLocked(error)) return share;
        throw error;
      });
      for (const accountId of found) locked.add(accountId);
    }
    return locked;
  }

  async #run(): Promise<void> {
    const givingUp = setInterval(() => this.#giveUp(), GIVE_UP_MS);
    let restMs = LOOK_MS;
    while (this.isBusy) {
      await sleep(restMs);
      const startedMs = performance.now();
      const ready = await this.#findReady();
      // A look over very many accounts rests for as long as it took.
      restMs = Math.max(LOOK_MS, performance.now() - startedMs);
      await this.#commitEach(this.#batchesOf(ready));
    }
    clearInterval(givingUp);
    this.#isRunning = false;
  }

  /** What can go now: an account's items keep their order, and of the doubtful ones only the first is tried, alone. */
  async #findReady(): Promise<Waiting<Entry>[]> {
    try {
      const held = new Set(await this.findLocked([...this.#awaited.keys()]));
      const ready: Waiting<Entry>[] = [];
      let hasDoubtful = false;
      for (const waiting of this.#waiting) {
        const isHeld: boolean =
          waiting.accounts.some((accountId) => held.has(accountId)) || (waiting.isDoubtful && hasDoubtful);
        if (!isHeld) ready.push(waiting);
        else for (const accountId of waiting.accounts) held.add(accountId);
        hasDoubtful ||= !isHeld && waiting.isDoubtful;
      }
      return ready;
    } catch (error) {
      this.#reject([...this.#waiting], error);
      return [];
    }
  }

  /** One batch after the other. What stays behind keeps later items of its accounts back. */
  async #commitEach(batches: Iterable<readonly Waiting<Entry>[]>, held = new Set<string>()): Promise<void> {
    const hold = ({ accounts }: Waiting<Entry>) => accounts.forEach((accountId) => held.add(accountId));
    for (const batch of batches) {
      const going = batch.filter((waiting) => {
        const isHeld = waiting.accounts.some((accountId) => held.has(accountId));
        if (isHeld) hold(waiting);
        return !isHeld;
      });
      await this.#commit(going);
      batch.filter((waiting) => this.#waiting.has(waiting)).forEach(hold);
    }
  }

  *#batchesOf(ready: readonly Waiting<Entry>[]): Generator<Waiting<Entry>[]> {
    let batch: Waiting<Entry>[] = [];
    let weight = 0;
    for (const waiting of ready) {
      const isFull = weight + waiting.entry.weight > this.#actions.weightMax;
      if (batch.length > 0 && (isFull || waiting.isDoubtful || batch.at(-1)?.isDoubtful === true)) {
        yield batch;
        [batch, weight] = [[], 0];
      }
      batch.push(waiting);
      weight += waiting.entry.weight;
    }
    if (batch.length > 0) yield batch;
  }

  async #commit(all: readonly Waiting<Entry>[]): Promise<void> {
    const batch = all.filter((waiting) => this.#waiting.has(waiting));
    if (batch.length === 0) return;
    const entries = batch.map(({ entry }) => entry);
    batch.forEach((waiting) => this.#underWay.add(waiting));
    try {
      const deliver = await this.#actions.commit(entries);
      // First they leave, then their callers hear: what those hand in next for the same accounts need not come here.
      this.#leave(batch);
      deliver();
    } catch (error) {
      for (const waiting of batch) this.#underWay.delete(waiting);
      if (this.#options.isLocked(error)) return await this.#tryApart(batch, error);
      this.#leave(batch);
      await this.#actions.blame(entries, error);
    }
  }

  /** Somebody has taken a lock since the look, or one that it cannot see. Half of them at a time finds whom it concerns. */
  async #tryApart(batch: readonly Waiting<Entry>[], error: unknown): Promise<void> {
    this.#error = error;
    const [first] = batch;
    if (batch.length === 1 && first !== undefined) {
      first.isDoubtful = true;
      // Behind the others: the next doubtful one has its try before this one has another.
      this.#moveToEnd(first);
      return;
    }
    const locked = await this.findLocked(batch.flatMap(({ accounts }) => accounts)).catch(() => new Set<string>());
    if (locked.size > 0) return await this.#commitEach([batch], new Set(locked));
    const middle = Math.ceil(batch.length / 2);
    await this.#commitEach([batch.slice(0, middle), batch.slice(middle)]);
  }

  /** Only one for whose accounts no other waits: an account's items keep their order. */
  #moveToEnd(waiting: Waiting<Entry>): void {
    if (waiting.accounts.some((accountId) => (this.#awaited.get(accountId) ?? 0) > 1)) return;
    this.#waiting.delete(waiting);
    this.#waiting.add(waiting);
  }

  #giveUp(): void {
    const isHopeless = this.#options.isHopeless?.() === true;
    const sinceMs = performance.now() - this.#options.waitMsMax;
    const resting = [...this.#waiting].filter((waiting) => !this.#underWay.has(waiting));
    const late = resting.filter((waiting) => isHopeless || waiting.sinceMs < sinceMs);
    this.#reject(late, this.#error);
  }

  #reject(waiting: readonly Waiting<Entry>[], error: unknown): void {
    this.#leave(waiting);
    for (const { entry } of waiting) entry.reject(error);
  }

  #leave(waiting: readonly Waiting<Entry>[]): void {
    for (const one of waiting) {
      this.#underWay.delete(one);
      if (!this.#waiting.delete(one)) continue;
      this.#weight -= one.entry.weight;
      for (const accountId of one.accounts) {
        const count = (this.#awaited.get(accountId) ?? 0) - 1;
        if (count <= 0) this.#awaited.delete(accountId);
        else this.#awaited.set(accountId, count);
      }
    }
  }
}
