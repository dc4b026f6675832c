import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { Caller } from "../domain/access.ts";
import { InturnError } from "../errors/error.ts";
import type { ApiContext } from "./route.ts";

/** Seconds of the window in which a key's events are counted. */
const WINDOW_SECONDS = 1;

/** The name of the one policy there is. */
const POLICY = '"events"';

/**
 * What each key has sent in this second, in this process. Answers carry the header fields of
 * draft-ietf-httpapi-ratelimit-headers: the policy, and what is left of it.
 */
export class RateLimits {
  readonly #limiters = new Map<number, RateLimiterMemory>();

  /** Counts events of a key that has a limit. @throws InturnError `rate_exceeded` */
  async consume(c: ApiContext, caller: Caller, events: number): Promise<void> {
    const limit = caller.eventsPerSecond;
    if (limit === null || caller.keyId === null) return;
    c.header("RateLimit-Policy", `${POLICY};q=${limit};w=${WINDOW_SECONDS}`);
    if (events > limit) {
      throw new InturnError(
        "rate_exceeded",
        `This key may send ${limit} events in a second, and the request has ${events}; split it. Nothing was stored.`,
        { data: { limit } },
      );
    }
    try {
      tell(c, await this.#limiterFor(limit).consume(caller.keyId, events));
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error;
      tell(c, error);
      throw new InturnError(
        "rate_exceeded",
        `This key may send ${limit} events in a second, and has; nothing was stored. Try again later.`,
        { data: { limit, retryAfterSeconds: secondsUntil(error) } },
      );
    }
  }

  /** One for each limit that keys have. */
  #limiterFor(limit: number): RateLimiterMemory {
    const known = this.#limiters.get(limit);
    if (known !== undefined) return known;
    const limiter = new RateLimiterMemory({ points: limit, duration: WINDOW_SECONDS });
    this.#limiters.set(limit, limiter);
    return limiter;
  }
}

function tell(c: ApiContext, left: RateLimiterRes): void {
  c.header("RateLimit", `${POLICY};r=${Math.max(0, left.remainingPoints)};t=${secondsUntil(left)}`);
}

function secondsUntil(left: RateLimiterRes): number {
  return Math.max(1, Math.ceil(left.msBeforeNext / 1_000));
}
