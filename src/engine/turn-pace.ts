import { shouldYield } from "../domain/turn.ts";
import type { TurnOptions } from "./turn-options.ts";

/** How far a turn has come, and whether it makes room for others after its next event. */
export class TurnPace {
  readonly #options: Pick<TurnOptions, "isCrowded" | "stopping">;
  readonly #beganMs = performance.now();
  #settledEvents = 0;

  constructor(options: Pick<TurnOptions, "isCrowded" | "stopping">) {
    this.#options = options;
  }

  /** Takes note of a settled event. */
  settled(): void {
    this.#settledEvents += 1;
  }

  /** Whether the turn ends with the event that is being settled, although more may be pending. */
  yieldsNow(): boolean {
    return shouldYield({
      events: this.#settledEvents + 1,
      elapsedMs: performance.now() - this.#beganMs,
      crowded: this.#options.isCrowded(),
      stopping: this.#options.stopping.aborted,
    });
  }
}
