/**
 * What an API process counts, in the names and units of Prometheus. Accounts are never labels: there may be millions.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { BATCH_BUCKETS } from "./buckets.ts";

/** How the whole system is, as the database says. */
export interface SystemReading {
  readonly backlog: number;
  readonly oldestPendingSeconds: number | null;
  readonly oldestSnapshotSeconds: number;
  readonly accounts: Readonly<Record<string, number>>;
  readonly orderViolations: number;
  /** The targets that are away, or still waited for. */
  readonly targets: readonly { target: string; awaySeconds: number | null; waitingAccounts: number }[];
}

/** The metrics of one API process. */
export class ApiMetrics {
  readonly registry: Registry = new Registry();
  /** What the database says, read when it is asked for. */
  readonly #system = new Registry();
  readonly #registers: Registry[] = [this.registry];
  readonly #accepted = new Counter({
    name: "inturn_events_accepted_total",
    help: "Events that were stored, and those that had been stored before.",
    labelNames: ["duplicate"],
    registers: this.#registers,
  });
  readonly #new = this.#accepted.labels("false");
  readonly #duplicate = this.#accepted.labels("true");
  readonly #refused = new Counter({
    name: "inturn_requests_refused_total",
    help: "Requests that were answered with an error, by its code.",
    labelNames: ["code"],
    registers: this.#registers,
  });
  readonly #appendBatch = new Histogram({
    name: "inturn_append_batch_events",
    help: "Events that shared a transaction when they were stored.",
    buckets: BATCH_BUCKETS,
    registers: this.#registers,
  });
  readonly #backlog = new Gauge({
    name: "inturn_backlog_events",
    help: "Events of all accounts that are not settled yet.",
    registers: [this.#system],
  });
  readonly #oldestPending = new Gauge({
    name: "inturn_oldest_pending_seconds",
    help: "Age of the oldest event that is not settled; 0 when there is none.",
    registers: [this.#system],
  });
  readonly #oldestSnapshot = new Gauge({
    name: "inturn_oldest_snapshot_seconds",
    help: "For how long a session has kept PostgreSQL from removing old versions of rows; 0 when none does.",
    registers: [this.#system],
  });
  readonly #accounts = new Gauge({
    name: "inturn_accounts",
    help: "Accounts, by state.",
    labelNames: ["state"],
    registers: [this.#system],
  });
  readonly #targetAway = new Gauge({
    name: "inturn_target_away_seconds",
    help: "For how long a target has been away; a target that is not away is not named.",
    labelNames: ["target"],
    registers: [this.#system],
  });
  readonly #targetAccounts = new Gauge({
    name: "inturn_target_waiting_accounts",
    help: "Accounts that wait for a target that is away, or has just come back.",
    labelNames: ["target"],
    registers: [this.#system],
  });
  readonly #orderViolations = new Gauge({
    name: "inturn_order_violations",
    help: "Events settled in the last seconds, of those looked at, that broke the order of their account. Always 0.",
    registers: [this.#system],
  });

  readonly #exposeCounted: () => Promise<string>;

  /**
   * @param options.hasProcess with the metrics of the process: memory, processor, event loop
   * @param options.share gives what else than its own this process exposes, of others like it
   */
  constructor(
    options: { hasProcess?: boolean; share?: ((registry: Registry) => () => Promise<string>) | undefined } = {},
  ) {
    // From the beginning on: what has not happened yet is 0, and not unknown.
    for (const counter of [this.#new, this.#duplicate]) counter.inc(0);
    if (options.hasProcess === true) collectDefaultMetrics({ register: this.registry });
    this.#exposeCounted = options.share?.(this.registry) ?? (() => this.registry.metrics());
  }

  /** Counts what a request stored. */
  accepted(appended: readonly { duplicate: boolean }[]): void {
    const duplicates = appended.reduce((sum, { duplicate }) => sum + (duplicate ? 1 : 0), 0);
    if (duplicates < appended.length) this.#new.inc(appended.length - duplicates);
    if (duplicates > 0) this.#duplicate.inc(duplicates);
  }

  /** Counts an error that a client was told of. */
  refused(code: string): void {
    this.#refused.labels(code).inc();
  }

  /** Notes how many events a transaction stored. */
  appendBatch(events: number): void {
    this.#appendBatch.observe(events);
  }

  /** Everything as text. Without a reading, what only the database knows is left out. */
  async expose(reading: SystemReading | undefined): Promise<string> {
    const counted = await this.#exposeCounted();
    if (reading === undefined) return counted;
    this.#backlog.set(reading.backlog);
    this.#oldestPending.set(reading.oldestPendingSeconds ?? 0);
    this.#oldestSnapshot.set(reading.oldestSnapshotSeconds);
    for (const [state, accounts] of Object.entries(reading.accounts)) this.#accounts.labels(state).set(accounts);
    for (const gauge of [this.#targetAway, this.#targetAccounts]) gauge.reset();
    for (const { target, awaySeconds, waitingAccounts } of reading.targets) {
      if (awaySeconds !== null) this.#targetAway.labels(target).set(awaySeconds);
      this.#targetAccounts.labels(target).set(waitingAccounts);
    }
    this.#orderViolations.set(reading.orderViolations);
    return `${counted}\n${await this.#system.metrics()}`;
  }
}
