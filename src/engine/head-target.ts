/**
 * What a turn has to do with the target of its head: whether the head may start, and what its end says of the target.
 */
import type { RetryRule } from "../domain/failure.ts";
import type { RetryWish } from "../errors/retry.ts";
import type { TargetWatch } from "./target-watch.ts";

/** The rule of the head's type, as far as it concerns the target. */
type TargetOfType = Pick<RetryRule, "target">;

/** How a head failed. */
export interface Failing {
  readonly wish: RetryWish;
  readonly message: string;
  /** Whether it would be given up now. */
  readonly isLast: boolean;
}

/** The target of the head of one turn. */
export class HeadTarget {
  readonly #targets: TargetWatch;
  readonly #accountId: string;
  /** The target that an earlier attempt of this head named, if one did; else its type's counts. */
  #named: string | null;
  #isProbe = false;

  constructor(targets: TargetWatch, accountId: string, named: string | null) {
    this.#targets = targets;
    this.#accountId = accountId;
    this.#named = named;
  }

  /** The name of the head's target. */
  nameFor(rule: TargetOfType): string {
    return this.#named ?? rule.target;
  }

  /** Whether the head may start; at once, when its target is not known to be away. */
  mayStart(rule: TargetOfType): true | Promise<boolean> {
    const target = this.nameFor(rule);
    return this.#targets.isAway(target) ? this.#ask(target) : true;
  }

  async #ask(target: string): Promise<boolean> {
    const entry = await this.#targets.enter(target, this.#accountId);
    this.#isProbe = entry === "probe";
    return entry !== "wait";
  }

  /** Takes note of a head that went well: the next one is another event. */
  succeeded(rule: TargetOfType): Promise<void> | undefined {
    const target = this.nameFor(rule);
    this.#named = null;
    if (this.#isProbe) return this.#endProbe(target, { succeeded: true, message: null });
    this.#targets.succeeded(target);
    return undefined;
  }

  /** Takes note of a head that failed. The target that its account has to wait for, or null when it was the event's own fault. */
  async failed(rule: TargetOfType, { wish, message, isLast }: Failing): Promise<string | null> {
    const target = this.nameFor(rule);
    if (wish !== undefined && "never" in wish) {
      // The handler has heard from the target what is wrong with the event.
      if (this.#isProbe) await this.#endProbe(target, { succeeded: true, message: null });
      return null;
    }
    if (wish !== undefined && "away" in wish) {
      const { away, retryAfterMs } = wish;
      if (this.#isProbe) await this.#endProbe(target, { succeeded: false, message, retryAfterMs });
      const isNews = retryAfterMs !== null || !this.#targets.isAway(away);
      return !isNews || (await this.#targets.trip(away, message, retryAfterMs)) ? away : null;
    }
    if (this.#isProbe) {
      await this.#endProbe(target, { succeeded: false, message });
      return target;
    }
    if (wish !== undefined && !wish.countsAttempt) return null;
    this.#targets.failed(target, this.#accountId, message);
    // What is given up for lost is not given up on the news of a quarter of a second ago.
    if (isLast && !this.#targets.isAway(target)) await this.#targets.look();
    return this.#targets.isAway(target) ? target : null;
  }

  async #endProbe(
    target: string,
    end: { succeeded: boolean; message: string | null; retryAfterMs?: number | null },
  ): Promise<void> {
    this.#isProbe = false;
    const { succeeded, message: reason, retryAfterMs = null } = end;
    await this.#targets.endProbe({ target, accountId: this.#accountId, succeeded, reason, retryAfterMs });
  }
}
