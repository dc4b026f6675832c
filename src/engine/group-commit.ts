import { setImmediate as nextRound } from "node:timers/promises";
import { Detour, type DetourOptions } from "./detour.ts";

/**
 * Group commit: many callers, few statements. While one batch is on its way to the database the next one fills, so the
 * busier it gets the larger the batches are, and nobody waits for a timer.
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

/** Batches take milliseconds. One that takes this long is in the hands of a server process that hangs, and holds up nobody else. */
const PATIENCE_MS = 1_000;

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
  readonly #detour: Detour<Item>;
  #waiting: Waiting<Item, Result>[] = [];
  #waitingWeight = 0;
  #busy = false;

  constructor(options: GroupCommitOptions<Item, Result>) {
    this.#options = options;
    this.#detour = new Detour(options.detour);
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
    for (;;) {
      if (this.#waiting.length === 0) {
        deliver();
        deliver = NOTHING;
      }
      // The rest of this round of events first: everything that is ready in it shares the batch.
      if (deliver === NOTHING) await nextRound();
      if (this.#waiting.length === 0) break;
      const committed = this.#commit(this.#takeBatch());
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

  #takeBatch(): Waiting<Item, Result>[] {
    let weight = 0;
    let count = 0;
    for (const waiting of this.#waiting) {
      if (count > 0 && weight + waiting.weight > this.#options.weightMax) break;
      weight += waiting.weight;
      count += 1;
    }
    this.#waitingWeight -= weight;
    return this.#waiting.splice(0, count);
  }

  /** Resolves with what tells the callers. Never rejects: every outcome goes to the item's own caller. */
  async #commit(batch: readonly Waiting<Item, Result>[]): Promise<Deliver> {
    const [onItsWay, free] = partition(batch, ({ item }) => this.#detour.blocks(item));
    this.#sendRound(onItsWay);
    if (free.length === 0) return NOTHING;
    try {
      return await this.#commitTogether(free);
    } catch (error) {
      if (this.#options.detour.isLocked(error)) await this.#separateLocked(free);
      else await this.#blame(free, error);
      return NOTHING;
    }
  }

  async #commitTogether(batch: readonly Waiting<Item, Result>[]): Promise<Deliver> {
    const results = await this.#options.commit(batch.map((waiting) => waiting.item));
    return () => batch.forEach((waiting, i) => waiting.resolve(results[i] as Result));
  }

  /** Those that need a locked account go round; the others try once more. What locks rows now may not have been visible then: if it fails again, all go round. */
  async #separateLocked(batch: readonly Waiting<Item, Result>[]): Promise<void> {
    const { accountsOf, findLocked } = this.#options.detour;
    try {
      const locked = await findLocked(batch.flatMap(({ item }) => accountsOf(item)));
      const [held, free] = partition(batch, ({ item }) => accountsOf(item).some((accountId) => locked.has(accountId)));
      this.#sendRound(held);
      if (free.length === 0) return;
      await this.#commitTogether(free).then(
        (deliver) => deliver(),
        (error: unknown) => this.#blame(free, error),
      );
    } catch (error) {
      for (const waiting of batch) waiting.reject(error);
    }
  }

  async #blame(batch: readonly Waiting<Item, Result>[], error: unknown): Promise<void> {
    if (this.#options.detour.isLocked(error)) this.#sendRound(batch);
    else if (batch.length > 1 && this.#options.isItemsFault?.(error) === true) {
      for (const waiting of batch) await this.#commit([waiting]).then((deliver) => deliver());
    } else {
      for (const waiting of batch) waiting.reject(error);
    }
  }

  #sendRound(batch: readonly Waiting<Item, Result>[]): void {
    const sinceMs = performance.now();
    this.#detour.add(
      batch.map((waiting) => ({
        item: waiting.item,
        sinceMs,
        commit: async () => {
          try {
            (await this.#commitTogether([waiting]))();
          } catch (error) {
            if (this.#options.detour.isLocked(error)) throw error;
            waiting.reject(error);
          }
        },
        giveUp: waiting.reject,
      })),
    );
  }
}

function partition<Item>(items: readonly Item[], isFirst: (item: Item) => boolean): [Item[], Item[]] {
  const first: Item[] = [];
  const second: Item[] = [];
  for (const item of items) (isFirst(item) ? first : second).push(item);
  return [first, second];
}
