import { setImmediate as nextRound } from "node:timers/promises";
import { Detour, type DetourOptions } from "./detour.ts";

/**
 * Group commit: many callers, few statements. While one batch is on its way to the database the next one fills, so the
 * busier it gets the larger the batches are, and no item waits for a timer.
 *
 * One batch at a time: what was submitted first is committed first. Two at a time would bring arrays of events in a
 * fifth faster (bench/README.md), and let a later request overtake an earlier one. Only a batch that hangs is not waited for.
 */
export interface GroupCommitOptions<Item, Result> {
  /** Carries out one batch, all or nothing, and answers for each item in order. */
  readonly commit: (items: readonly Item[]) => Promise<readonly Result[]>;
  /** The largest total weight of a batch. */
  readonly weightMax: number;
  /** What an item weighs; 1 unless told. An item above `weightMax` goes alone. */
  readonly weigh?: (item: Item) => number;
  /** Whether an error is the fault of some item in the batch: then each item is committed alone, and only the faulty ones fail. */
  readonly isItemsFault?: (error: unknown) => boolean;
  /** After this long without an answer the next batch goes out beside the one that hangs; {@link PATIENCE_MS} unless told. */
  readonly patienceMs?: number;
  /** How items that need a locked account leave their batch. */
  readonly detour: DetourOptions<Item>;
}

/** Batches take milliseconds. One that takes this long has met a server process that hangs; other batches do not wait for it. */
const PATIENCE_MS = 1_000;

/** Less than this share of the last batch is too little for a batch of its own, as long as the last one's callers have not heard. */
const SMALL_SHARE = 0.5;

/** Tells the callers of a batch what became of their items. */
type Deliver = () => void;

const NOTHING: Deliver = () => undefined;

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly weight: number;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

/** Collects items while earlier ones are being committed; commits them in the order of their submission. */
export class GroupCommit<Item, Result> {
  readonly #options: GroupCommitOptions<Item, Result>;
  readonly #detour: Detour<Item, Waiting<Item, Result>>;
  #waiting: Waiting<Item, Result>[] = [];
  #waitingWeight = 0;
  #busy = false;

  constructor(options: GroupCommitOptions<Item, Result>) {
    this.#options = options;
    this.#detour = new Detour(options.detour, {
      commit: (batch) => this.#commitTogether(batch),
      blame: (batch, error) => this.#blame(batch, error),
      weightMax: options.weightMax,
    });
  }

  /** The total weight of what waits for a batch: the caller's measure of overload. */
  get waitingWeight(): number {
    return this.#waitingWeight;
  }

  /** Hands an item in; settles when the batch it went with is committed, or has failed. */
  submit(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      const weight = this.#options.weigh?.(item) ?? 1;
      this.#waiting.push({ item, weight, resolve, reject });
      this.#waitingWeight += weight;
      if (this.#busy) return;
      this.#busy = true;
      void this.#commitAll();
    });
  }

  async #commitAll(): Promise<void> {
    let deliver = NOTHING;
    let lastWeight = 0;
    for (;;) {
      // What those callers hand in next shares the batch of a few that wait: else the few would go alone for ever after.
      if (this.#waitingWeight < SMALL_SHARE * lastWeight) {
        deliver();
        deliver = NOTHING;
      }
      // The rest of this round of events first: everything that is ready in it shares the batch.
      if (deliver === NOTHING) await nextRound();
      if (this.#waiting.length === 0) break;
      const { batch, weight } = this.#takeBatch();
      lastWeight = weight;
      const committed = this.#commit(batch);
      // The database has its next batch before anybody hears of the last one: what they do then costs it no time.
      deliver();
      deliver = await this.#patiently(committed);
    }
    this.#busy = false;
  }

  async #patiently(committed: Promise<Deliver>): Promise<Deliver> {
    const { patienceMs = PATIENCE_MS } = this.#options;
    const { promise: patience, resolve: lose } = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => lose(undefined), patienceMs);
    const deliver = await Promise.race([committed, patience]);
    clearTimeout(timer);
    if (deliver !== undefined) return deliver;
    void committed.then((late) => late());
    return NOTHING;
  }

  #takeBatch(): { batch: Waiting<Item, Result>[]; weight: number } {
    let weight = 0;
    let count = 0;
    for (const waiting of this.#waiting) {
      if (count > 0 && weight + waiting.weight > this.#options.weightMax) break;
      weight += waiting.weight;
      count += 1;
    }
    this.#waitingWeight -= weight;
    return { batch: this.#waiting.splice(0, count), weight };
  }

  /** Resolves with what tells the callers. Never rejects: every outcome goes to the item's own caller. */
  async #commit(batch: readonly Waiting<Item, Result>[]): Promise<Deliver> {
    const [behind, free] = partition(batch, ({ item }) => this.#detour.blocks(item));
    if (behind.length > 0) this.#detour.add(behind);
    let going = free;
    try {
      // Locks seldom come alone: while something waits for one a batch asks first, and need not run into the next.
      if (free.length > 0 && this.#detour.isBusy) going = await this.#divertLocked(free);
      return going.length === 0 ? NOTHING : await this.#commitTogether(going);
    } catch (error) {
      if (this.#options.detour.isLocked(error)) await this.#goAround(going, error);
      else await this.#blame(going, error);
      return NOTHING;
    }
  }

  /** Sends those round that need a locked account. Returns the others. */
  async #divertLocked(batch: Waiting<Item, Result>[], error?: unknown): Promise<Waiting<Item, Result>[]> {
    const { accountsOf } = this.#options.detour;
    const locked = await this.#detour.findLocked(batch.flatMap(({ item }) => accountsOf(item)));
    // Of one account a batch may hold several items: none goes before an earlier one.
    const held = new Set(locked);
    const [around, free] = partition(batch, ({ item }) => {
      const isHeld = accountsOf(item).some((accountId) => held.has(accountId));
      if (isHeld) for (const accountId of accountsOf(item)) held.add(accountId);
      return isHeld;
    });
    if (around.length > 0) this.#detour.add(around, ...(error === undefined ? [] : [error]));
    return free;
  }

  async #commitTogether(batch: readonly Waiting<Item, Result>[]): Promise<Deliver> {
    const results = await this.#options.commit(batch.map((waiting) => waiting.item));
    return () => batch.forEach((waiting, i) => waiting.resolve(results[i] as Result));
  }

  /**
   * Those that need a locked account go round; the others try once more. What locks rows now may not have been visible then: if
   * it fails again, all go round.
   */
  async #goAround(batch: Waiting<Item, Result>[], error: unknown): Promise<void> {
    let free = batch;
    try {
      free = await this.#divertLocked(batch, error);
      if (free.length > 0) (await this.#commitTogether(free))();
    } catch (failure) {
      await this.#blame(free, failure);
    }
  }

  async #blame(batch: readonly Waiting<Item, Result>[], error: unknown): Promise<void> {
    if (this.#options.detour.isLocked(error)) this.#detour.add(batch, error);
    else if (batch.length > 1 && this.#options.isItemsFault?.(error) === true) {
      for (const waiting of batch) await this.#commit([waiting]).then((deliver) => deliver());
    } else {
      for (const waiting of batch) waiting.reject(error);
    }
  }
}

function partition<Item>(items: readonly Item[], isFirst: (item: Item) => boolean): [Item[], Item[]] {
  const first: Item[] = [];
  const second: Item[] = [];
  for (const item of items) (isFirst(item) ? first : second).push(item);
  return [first, second];
}
