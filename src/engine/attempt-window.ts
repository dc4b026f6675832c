import { TARGET_WINDOW_MS } from "../domain/target.ts";

const BUCKET_MS = 1_000;

interface Bucket {
  readonly number: number;
  attempts: number;
  failed: number;
  readonly failedAccounts: Set<string>;
}

/** How attempts of one target went in the last ten seconds. */
export class AttemptWindow {
  #buckets: Bucket[] = [];
  /** What the last one failed with. */
  lastError = "";

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
  }

  /** The sums, with at most so many of the accounts whose attempts failed. */
  sums(nowMs: number, accountsMax: number): { attempts: number; failed: number; failedAccounts: string[] } {
    const oldest = (nowMs - TARGET_WINDOW_MS) / BUCKET_MS;
    this.#buckets = this.#buckets.filter((bucket) => bucket.number > oldest);
    const failedAccounts = new Set(this.#buckets.flatMap((bucket) => [...bucket.failedAccounts]));
    const sum = (of: "attempts" | "failed") => this.#buckets.reduce((total, bucket) => total + bucket[of], 0);
    return {
      attempts: sum("attempts"),
      failed: sum("failed"),
      failedAccounts: [...failedAccounts].slice(0, accountsMax),
    };
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
