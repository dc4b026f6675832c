/**
 * What an API process counts, in the names and units of Prometheus. Accounts are never labels: there may be millions.
 */
import {
  AggregatorRegistry,
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from "prom-client";
import { BATCH_BUCKETS } from "./buckets.ts";
import { SystemMetrics, type SystemReading } from "./system-metrics.ts";

/** What is counted, as prom-client gives it. */
export type Counted = MetricObjectWithValues<MetricValue<string>>[];

/** Gives with what the metrics of this process, and of others like it, are read as text. */
export type ShareCounted = (own: () => Promise<Counted>) => () => Promise<string>;

/** The metrics of one API process. */
export class ApiMetrics {
  readonly registry: Registry = new Registry();
  /** What the database says, read when it is asked for. */
  readonly #system: SystemMetrics;
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
  readonly #cell: string | undefined;
  readonly #cellUp: Gauge | undefined;
  readonly #exposeCounted: () => Promise<string>;

  /**
   * @param options.hasProcess with the metrics of the process: memory, processor, event loop
   * @param options.share what else than its own this process exposes
   * @param options.cell a label of all of them
   * @param options.cells of the cells that this process is in front of
   */
  constructor(
    options: {
      hasProcess?: boolean;
      share?: ShareCounted | undefined;
      cell?: string;
      cells?: readonly ApiMetrics[];
    } = {},
  ) {
    const { hasProcess = false, share, cell, cells = [] } = options;
    // From the beginning on: what has not happened yet is 0, and not unknown.
    for (const counter of [this.#new, this.#duplicate]) counter.inc(0);
    if (hasProcess) collectDefaultMetrics({ register: this.registry });
    this.#system = new SystemMetrics(cell);
    this.#cell = cell;
    if (cells.length > 0) this.#cellUp = createCellUp(this.#registers);
    if (cell !== undefined) this.registry.setDefaultLabels({ cell });
    const registries = [this.registry, ...cells.map(({ registry }) => registry)];
    const merged = async () => await (await merge(registries)).getMetricsAsJSON();
    this.#exposeCounted = share?.(merged) ?? (async () => await (await merge(registries)).metrics());
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
    return await this.exposeAll([[this, reading]]);
  }

  /** The same with the readings of several cells; a cell without one is away. */
  async exposeAll(
    cells: readonly (readonly [cell: ApiMetrics, reading: SystemReading | undefined])[],
  ): Promise<string> {
    for (const [cell, reading] of cells) this.#cellUp?.labels(cell.#cell ?? "").set(reading === undefined ? 0 : 1);
    const counted = await this.#exposeCounted();
    const systems = cells.flatMap(([cell, reading]) => (reading === undefined ? [] : [cell.#system.of(reading)]));
    if (systems.length === 0) return counted;
    return `${counted}\n${await (await merge(systems)).metrics()}`;
  }
}

function createCellUp(registers: Registry[]): Gauge {
  return new Gauge({
    name: "inturn_cell_up",
    help: "Whether the database of a cell answers this server: 1 or 0.",
    labelNames: ["cell"],
    registers,
  });
}

/** One registry has everything as it is; those of several have labels by which they are told apart. */
async function merge(registries: readonly Registry[]): Promise<Registry> {
  const [only, ...others] = registries;
  if (only !== undefined && others.length === 0) return only;
  return AggregatorRegistry.aggregate(await Promise.all(registries.map((registry) => registry.getMetricsAsJSON())));
}
