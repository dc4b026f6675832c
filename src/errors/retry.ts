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
  /** Whether this was an attempt. If not, the event was only put off: as often as need be, for a day in all. */
  readonly countsAttempt: boolean;
  override readonly name: string = "RetryAtError";

  /** @param options.countsAttempt whether this was an attempt; true unless told */
  constructor(message: string, at: Date, options: ErrorOptions & { countsAttempt?: boolean } = {}) {
    super(message, options);
    this.retry = at;
    this.countsAttempt = options.countsAttempt ?? true;
  }
}

/**
 * An outside system is away: no event that needs it is started until it is back, on no worker, and this was no attempt.
 */
export class TargetAwayError extends Error {
  readonly retry: { readonly target: string; readonly at: Date | undefined };
  override readonly name: string = "TargetAwayError";

  /**
   * @param target its name, as `eventTypes` has it
   * @param options.retryAfterMs not to be asked again before; unless told, a second, then twice as long after each try, up to a minute
   */
  constructor(target: string, options: ErrorOptions & { message?: string; retryAfterMs?: number } = {}) {
    super(options.message ?? `${target} is away`, options);
    const { retryAfterMs } = options;
    this.retry = { target, at: retryAfterMs === undefined ? undefined : new Date(Date.now() + retryAfterMs) };
  }
}

/**
 * Of a batch, the first events went well and are settled, and the next one failed. What follows is said by `cause`, as if the handler
 * of a single event had thrown it.
 */
export class BatchError extends Error {
  /** How many events went well. */
  readonly handled: number;
  override readonly name: string = "BatchError";

  /** @param handled how many events went well before the one that failed: its index in the batch */
  constructor(handled: number, cause: unknown) {
    super(`event ${handled} of the batch failed`, { cause });
    this.handled = handled;
  }

  /** Whether it is one, also of another copy of this package. */
  static is(thrown: unknown): thrown is BatchError {
    if (!(thrown instanceof Error) || thrown.name !== "BatchError") return false;
    const { handled } = thrown as Partial<BatchError>;
    return Number.isSafeInteger(handled) && Number(handled) >= 0;
  }
}

/**
 * What a failed handler asks for: never again; again in so many ms, which may not count as an attempt; to wait until a target is
 * back, which is not asked for so many ms; or nothing.
 */
export type RetryWish =
  | { readonly never: true }
  | { readonly inMs: number; readonly countsAttempt: boolean }
  | { readonly away: string; readonly retryAfterMs: number | null }
  | undefined;

/** The longest wait that a handler may ask for: 30 days. */
const RETRY_IN_MS_MAX = 30 * 24 * 3_600_000;

/**
 * What a thrown value asks for.
 *
 * @param now by the clock that the handler made its time with, which is this process's
 */
export function retryWishOf(thrown: unknown, now: number): RetryWish {
  const { retry, countsAttempt } = (thrown ?? {}) as { retry?: unknown; countsAttempt?: unknown };
  if (retry === false) return { never: true };
  const inMs = msUntil(retry, now);
  if (inMs !== null) return { inMs, countsAttempt: countsAttempt !== false };
  if (typeof retry !== "object" || retry === null) return undefined;
  const { target, at } = retry as { target?: unknown; at?: unknown };
  return typeof target === "string" && target !== "" ? { away: target, retryAfterMs: msUntil(at, now) } : undefined;
}

function msUntil(at: unknown, now: number): number | null {
  const atMs = at instanceof Date ? at.getTime() : Number.NaN;
  return Number.isNaN(atMs) ? null : Math.min(Math.max(atMs - now, 0), RETRY_IN_MS_MAX);
}
