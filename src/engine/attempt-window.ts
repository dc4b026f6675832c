import { TARGET_WINDOW_MS, type TargetRule } from "../domain/target.ts";

/** Short: where a second of success and the first failures share a bucket, accounts with few attempts are blocked before it shows. */
const BUCKET_MS = 100;

interface Bucket {
  readonly number: number;
  attempts: number;
  failed: number;
  readonly failedAccounts: Set<string>;
}

/** How the last attempts of one target went. */
export interface AttemptSums {
  readonly attempts: number;
  readonly failed: number;
  readonly failedAccounts: readonly string[];
}

/** How attempts of one target went in the last ten seconds. */
export class AttemptWindow {
  #buckets: Bucket[] = [];
  /** What the last one failed with. */
  lastError = "";
  /** When that was, by a clock that never goes back. */
  failedMs: number = Number.NEGATIVE_INFINITY;

  /** @param nowMs of a clock that never goes back */
  succeeded(nowMs: number): void {
    this.#bucketAt(nowMs).attempts += 1;
  }

  /** Notes a failed attempt. */
  failed(nowMs: number, accountId: string, error: string): void {
    const bucket = this.#bucketAt(nowMs);
    bucket.attempts += 1;
    bucket.failed += 1;
    bucket.failedAccounts.add(accountId);
    this.lastError = error;
    this.failedMs = nowMs;
  }

  /**
   * The sums of the last attempts: of as much time as it takes to have enough of them, or of all ten seconds. A target that has gone
   * away is not hidden by what went well before.
   *
   * @param rule.accountsMin not more of the accounts whose attempts failed are named
   */
  sums(nowMs: number, rule: Pick<TargetRule, "attemptsMin" | "accountsMin">): AttemptSums {
    const oldest = (nowMs - TARGET_WINDOW_MS) / BUCKET_MS;
    this.#buckets = this.#buckets.filter((bucket) => bucket.number > oldest);
    let [attempts, failed] = [0, 0];
    const failedAccounts = new Set<string>();
    for (const bucket of this.#buckets.toReversed()) {
      if (attempts >= rule.attemptsMin) break;
      attempts += bucket.attempts;
      failed += bucket.failed;
      for (const accountId of bucket.failedAccounts) failedAccounts.add(accountId);
    }
    return { attempts, failed, failedAccounts: [...failedAccounts].slice(0, rule.accountsMin) };
  }

  #bucketAt(nowMs: number): Bucket {
    const number = Math.floor(nowMs / BUCKET_MS);
    const last = this.#buckets.at(-1);
    if (last?.number === number) return last;
    const fresh: Bucket = { number, attempts: 0, failed: 0, failedAccounts: new Set() };
    this.#buckets.push(fresh);
    // Whoever never asks for the sums keeps no more than the window.
    if (this.#buckets.length > TARGET_WINDOW_MS / BUCKET_MS + 1) this.#buckets.shift();
    return fresh;
  }
}
