import type { Claimed } from "../db/claim.ts";
import { areAttemptsUsedUp, judgeFailure, type RetryRule, type Verdict } from "../domain/failure.ts";
import { retryWishOf } from "../errors/retry.ts";
import { textOf } from "../errors/text.ts";
import { type Away, HeadTarget } from "./head-target.ts";
import type { TargetWatch } from "./target-watch.ts";

/** What follows the failure of a head. */
interface Judgement {
  readonly message: string;
  /** The target that its account has to wait for; null when the verdict counts. */
  readonly away: Away | null;
  readonly verdict: Verdict;
  /** The target that it needed, unless it will never succeed. */
  readonly target: string | null;
}

/** The head of the account that a turn has in hand: the attempt that it is at, what it needs, and what follows when it fails. */
export class Head {
  readonly target: HeadTarget;
  #attempt: number;
  /** How many attempts before this one no longer count. */
  #forgiven: number;
  #snoozedMs: number;

  constructor(targets: TargetWatch, claimed: Claimed) {
    this.target = new HeadTarget(targets, claimed);
    this.#attempt = claimed.attempt;
    this.#forgiven = claimed.attemptsForgiven;
    this.#snoozedMs = claimed.snoozedMs ?? 0;
  }

  /** 1 at the first one. */
  get attempt(): number {
    return this.#attempt;
  }

  /** Takes note that the head is settled: the next event is the head now, at its first attempt. */
  settled(): void {
    this.#attempt = 1;
    this.#forgiven = 0;
    this.#snoozedMs = 0;
  }

  /** Whether workers that died have used up its attempts; then this one is not begun. */
  areAttemptsUsedUp(rule: RetryRule): boolean {
    return areAttemptsUsedUp({ rule, attempt: this.#attempt, forgiven: this.#forgiven });
  }

  /** Takes note that this attempt is not begun. */
  withdraw(): void {
    this.#attempt -= 1;
  }

  /** What follows when this attempt has failed. */
  async judge(rule: RetryRule, error: unknown): Promise<Judgement> {
    const wish = retryWishOf(error, Date.now());
    const message = textOf(error);
    const attempt = this.#attempt - this.#forgiven;
    const verdict = judgeFailure({ rule, attempt, wish, snoozedMs: this.#snoozedMs, random: Math.random() });
    const away = await this.target.failed(rule, { wish, message, isLast: !("inMs" in verdict) });
    const target = wish !== undefined && "never" in wish ? null : this.target.nameFor(rule);
    return { message, away, verdict, target };
  }
}
