/**
 * What became of an event after an attempt that failed: it is tried again (`retry`), was put off without counting (`snooze`), waits for
 * its target (`wait`), blocks its account (`block`, `park`), or was set aside (`dead-letter`). `lost`: its worker was gone.
 */
export const ATTEMPT_OUTCOMES = ["retry", "snooze", "wait", "block", "park", "dead-letter", "lost"] as const;

/** One of {@link ATTEMPT_OUTCOMES}. */
export type AttemptOutcome = (typeof ATTEMPT_OUTCOMES)[number];

/** Of each event so many attempts are remembered: the last ones. */
export const ATTEMPTS_KEPT = 20;
