import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";

const WARM_UP = 20;

/** Every random choice of a run comes from here, so that its seed tells all of them. */
export class Random {
  readonly #generator: ReturnType<typeof xoroshiro128plus>;

  constructor(seed: number) {
    this.#generator = xoroshiro128plus(seed);
    // The first numbers of neighbouring seeds resemble each other.
    for (let i = 0; i < WARM_UP; i++) this.#generator.next();
  }

  /** A whole number from `least` to `most`, both included. */
  int(least: number, most: number): number {
    return uniformInt(this.#generator, least, most);
  }

  /** Whether something that happens once in `times` times happens now. */
  oneIn(times: number): boolean {
    return this.int(1, times) === 1;
  }

  /** One of these. */
  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.int(0, items.length - 1)];
    if (item === undefined) throw new Error("there is nothing to pick from");
    return item;
  }

  /** A source of its own, for what runs beside: the order in which two tasks ask then changes nothing. */
  fork(): Random {
    return new Random(this.int(0, 2 ** 31 - 1));
  }
}
