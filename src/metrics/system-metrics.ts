import { Gauge, Registry } from "prom-client";

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

/** What the database says, as metrics. */
export class SystemMetrics {
  readonly #registry = new Registry();
  readonly #backlog = new Gauge({
    name: "inturn_backlog_events",
    help: "Events of all accounts that are not settled yet.",
    registers: [this.#registry],
  });
  readonly #oldestPending = new Gauge({
    name: "inturn_oldest_pending_seconds",
    help: "Age of the oldest event that is not settled; 0 when there is none.",
    registers: [this.#registry],
  });
  readonly #oldestSnapshot = new Gauge({
    name: "inturn_oldest_snapshot_seconds",
    help: "For how long a session has kept PostgreSQL from removing old versions of rows; 0 when none does.",
    registers: [this.#registry],
  });
  readonly #accounts = new Gauge({
    name: "inturn_accounts",
    help: "Accounts, by state.",
    labelNames: ["state"],
    registers: [this.#registry],
  });
  readonly #targetAway = new Gauge({
    name: "inturn_target_away_seconds",
    help: "For how long a target has been away; a target that is not away is not named.",
    labelNames: ["target"],
    registers: [this.#registry],
  });
  readonly #targetAccounts = new Gauge({
    name: "inturn_target_waiting_accounts",
    help: "Accounts that wait for a target that is away, or has just come back.",
    labelNames: ["target"],
    registers: [this.#registry],
  });
  readonly #orderViolations = new Gauge({
    name: "inturn_order_violations",
    help: "Events settled in the last seconds, of those looked at, that broke the order of their account. Always 0.",
    registers: [this.#registry],
  });

  /** @param cell a label of all of them */
  constructor(cell?: string) {
    if (cell !== undefined) this.#registry.setDefaultLabels({ cell });
  }

  /** All of them, with what a reading says. */
  of(reading: SystemReading): Registry {
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
    return this.#registry;
  }
}
