/**
 * What a worker process counts, in the names and units of Prometheus. Accounts are never labels: there may be millions.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { BATCH_BUCKETS, HANDLER_BUCKETS, WAIT_BUCKETS } from "./buckets.ts";

/** What became of an attempt that failed. */
export type AfterFailure = "retry" | "snooze" | "wait" | "block" | "park" | "dead-letter";

/** The metrics of one worker process. An event costs it half a microsecond. */
export class WorkerMetrics {
  readonly registry: Registry = new Registry();
  readonly #registers: Registry[] = [this.registry];
  readonly #settled = new Counter({
    name: "inturn_events_settled_total",
    help: "Events that were settled here, by outcome.",
    labelNames: ["outcome"],
    registers: this.#registers,
  });
  readonly #outcomes = { processed: this.#settled.labels("processed"), dead: this.#settled.labels("dead") };
  readonly #failed = new Counter({
    name: "inturn_attempts_failed_total",
    help: "Attempts that failed, by what came next: retry, block, park or dead-letter.",
    labelNames: ["next"],
    registers: this.#registers,
  });
  readonly #handler = new Histogram({
    name: "inturn_handler_seconds",
    help: "Time of the handler, of each attempt that came to its end.",
    buckets: HANDLER_BUCKETS,
    registers: this.#registers,
  });
  readonly #wait = new Histogram({
    name: "inturn_wait_seconds",
    help: "From an event's arrival to the start of the attempt that settled it.",
    buckets: WAIT_BUCKETS,
    registers: this.#registers,
  });
  readonly #settleBatch = new Histogram({
    name: "inturn_settle_batch_events",
    help: "Events that shared a transaction when they were settled.",
    buckets: BATCH_BUCKETS,
    registers: this.#registers,
  });
  readonly #takenOver = new Counter({
    name: "inturn_leases_taken_over_total",
    help: "Accounts that this worker took from workers that were gone.",
    registers: this.#registers,
  });
  readonly #lost = new Counter({
    name: "inturn_leases_lost_total",
    help: "Leases that this worker found to be another one's when it settled.",
    registers: this.#registers,
  });
  readonly #inHand = new Gauge({
    name: "inturn_accounts_in_hand",
    help: "Accounts that this worker runs now.",
    registers: this.#registers,
  });
  readonly #concurrency = new Gauge({
    name: "inturn_accounts_in_hand_max",
    help: "Accounts that this worker runs at once at most.",
    registers: this.#registers,
  });

  readonly #stalled = new Gauge({
    name: "inturn_worker_stalled_seconds",
    help: "For how long accounts have been due although this worker has free slots; 0 while it is well.",
    registers: this.#registers,
  });

  /** @param options.hasProcess with the metrics of the process: memory, processor, event loop */
  constructor(options: { hasProcess?: boolean } = {}) {
    // From the beginning on: what has not happened yet is 0, and not unknown.
    for (const outcome of Object.values(this.#outcomes)) outcome.inc(0);
    for (const next of ["retry", "snooze", "wait", "block", "park", "dead-letter"] satisfies AfterFailure[])
      this.#failed.labels(next).inc(0);
    if (options.hasProcess === true) collectDefaultMetrics({ register: this.registry });
  }

  /** Counts an event that was settled. @param waitSeconds null for one whose handler was not called */
  settled(outcome: "processed" | "dead", waitSeconds: number | null, events = 1): void {
    this.#outcomes[outcome].inc(events);
    if (waitSeconds !== null) this.#wait.observe(waitSeconds);
  }

  /** Notes how long an attempt took. */
  attempted(seconds: number): void {
    this.#handler.observe(seconds);
  }

  /** Counts an attempt that failed. */
  failed(next: AfterFailure): void {
    this.#failed.labels(next).inc();
  }

  /** Notes how many events a transaction settled. */
  settleBatch(events: number): void {
    this.#settleBatch.observe(events);
  }

  /** Counts accounts that were taken from workers that are gone. */
  tookOver(accounts: number): void {
    this.#takenOver.inc(accounts);
  }

  /** Counts a lease that another worker has by now. */
  lostLease(): void {
    this.#lost.inc();
  }

  /** Everything as text. */
  async expose(load: { inHand: number; concurrency: number; stalledMs: number }): Promise<string> {
    this.#stalled.set(load.stalledMs / 1_000);
    this.#inHand.set(load.inHand);
    this.#concurrency.set(load.concurrency);
    return await this.registry.metrics();
  }
}
