/** CLOCK_MONOTONIC in ms: the same base in all processes of a machine, and deaf to whoever sets the time. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
