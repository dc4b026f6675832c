/**
 * What a handler throws to say more than "it failed". Any error with such a `retry` property does the same, so a handler
 * needs no import for it.
 */

/** The event will never succeed: its remaining attempts are given up, and the failure policy decides at once. */
export class DoNotRetryError extends Error {
  readonly retry = false;
  override readonly name: string = "DoNotRetryError";
}

/** The event is to be tried again at this time and not before; while attempts are left. */
export class RetryAtError extends Error {
  readonly retry: Date;
  override readonly name: string = "RetryAtError";

  constructor(message: string, at: Date, options?: ErrorOptions) {
    super(message, options);
    this.retry = at;
  }
}

/** What a failed handler asks for: never again, again in so many ms, or nothing. */
export type RetryWish = { readonly never: true } | { readonly inMs: number } | undefined;

/** The longest wait that a handler may ask for: 30 days. */
const RETRY_IN_MS_MAX = 30 * 24 * 3_600_000;

/**
 * What a thrown value asks for: never again, again in so many ms from `now`, or nothing.
 *
 * @param now by the clock that the handler made its time with, which is this process's
 */
export function retryWishOf(thrown: unknown, now: number): RetryWish {
  const retry = (thrown as { retry?: unknown } | null | undefined)?.retry;
  if (retry === false) return { never: true };
  const atMs = retry instanceof Date ? retry.getTime() : Number.NaN;
  return Number.isNaN(atMs) ? undefined : { inMs: Math.min(Math.max(atMs - now, 0), RETRY_IN_MS_MAX) };
}
