/**
 * What a turn has to do with the target of its head: whether the head may start, and what its end says of the target.
 */
import type { Claimed } from "../db/claim.ts";
import type { RetryRule } from "../domain/failure.ts";
import { OUTAGES_FORGIVEN_MAX } from "../domain/target.ts";
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

/** What an account has to wait for, and whether that is an outage that no handler has told of. */
export interface Away {
  readonly target: string;
  readonly isOutage: boolean;
}

/** The target of the head of one turn. */
export class HeadTarget {
  readonly #targets: TargetWatch;
  readonly #accountId: string;
  /** The target that an earlier attempt of this head named, if one did; else its type's counts. */
  #named: string | null;
  /** How often the head was forgiven in an outage. */
  #outages: number;
  #isProbe = false;

  constructor(targets: TargetWatch, claimed: Pick<Claimed, "accountId" | "headTarget" | "headOutages">) {
    this.#targets = targets;
    this.#accountId = claimed.accountId;
    this.#named = claimed.headTarget;
    this.#outages = claimed.headOutages;
  }

  /** Whether the head is the one event that finds out whether its target is back. */
  get isProbe(): boolean {
    return this.#isProbe;
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
    this.#outages = 0;
    if (this.#isProbe) return this.#endProbe(target, { succeeded: true, message: null });
    this.#targets.succeeded(target);
    return undefined;
  }

  /** Takes note of a head that failed. The target that its account has to wait for, or null when it was the event's own fault. */
  async failed(rule: TargetOfType, failing: Failing): Promise<Away | null> {
    const target = this.nameFor(rule);
    const { wish, message, isLast } = failing;
    if (this.#isProbe) return await this.#failedAsProbe(target, failing);
    if (wish !== undefined && "never" in wish) return null;
    if (wish !== undefined && "away" in wish) return await this.#trip(wish, message);
    if (wish !== undefined && !wish.countsAttempt) return null;
    this.#targets.failed(target, this.#accountId, message);
    if (this.#outages >= OUTAGES_FORGIVEN_MAX) return null;
    // What is given up for lost is not given up on the news of a quarter of a second ago.
    if (isLast && !this.#targets.isAway(target)) await this.#targets.look().catch(() => undefined);
    return this.#targets.isAway(target) ? { target, isOutage: true } : null;
  }

  async #failedAsProbe(target: string, { wish, message }: Failing): Promise<Away | null> {
    // What will never succeed was told so by the target: it is there.
    const succeeded = wish !== undefined && "never" in wish;
    const away = wish !== undefined && "away" in wish ? wish : undefined;
    await this.#endProbe(target, { succeeded, message, retryAfterMs: away?.retryAfterMs ?? null });
    if (succeeded) return null;
    return away === undefined || away.away === target ? { target, isOutage: false } : await this.#trip(away, message);
  }

  async #trip(wish: { away: string; retryAfterMs: number | null }, message: string): Promise<Away | null> {
    const { away: target, retryAfterMs } = wish;
    const isNews = retryAfterMs !== null || !this.#targets.isAway(target);
    const isAway = !isNews || (await this.#targets.trip(target, message, retryAfterMs));
    return isAway ? { target, isOutage: false } : null;
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
