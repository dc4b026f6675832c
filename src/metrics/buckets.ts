/** Upper bounds of histograms: batches in items, times in seconds. */
export const BATCH_BUCKETS: number[] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

/** From a handler that does nothing to one that takes its whole limit. */
export const HANDLER_BUCKETS: number[] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** From an idle system to one that is behind by a day. */
export const WAIT_BUCKETS: number[] = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600, 86_400,
];
