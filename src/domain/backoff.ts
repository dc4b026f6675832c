/**
 * How long an account waits after a failed attempt: `firstMs` doubled at each attempt up to `mostMs`, then a random share
 * between one half and the whole of it, so that accounts that failed together do not return together.
 *
 * @param failure.attempt the attempt that failed, from 1
 * @param failure.firstMs the wait after the first one
 * @param failure.mostMs the longest wait
 * @param failure.random a number in [0, 1)
 * @returns whole milliseconds
 */
export function backoffMs(failure: { attempt: number; firstMs: number; mostMs: number; random: number }): number {
  const doublings = Math.min(failure.attempt - 1, 40);
  const whole = Math.min(failure.firstMs * 2 ** doublings, failure.mostMs);
  return Math.round(whole * (0.5 + failure.random / 2));
}
