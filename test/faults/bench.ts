/**
 * The bench of one run: a fresh database, real processes behind proxies of their own, clients, and a record of what was
 * done to them.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { makeCell } from "../../src/db/cells.ts";
import { openDatabase } from "../../src/db/pool.ts";
import { MAP, NAMES } from "../support/cells.ts";
import { startProcess, type TestProcess } from "../support/process.ts";
import { until } from "../support/until.ts";
import { Clients } from "./client.ts";
import { monotonicMs } from "./clock.ts";
import { collectStores, type Store } from "./collect.ts";
import type { Absence, Death, HandlerCall, History, Recovery, Takeover } from "./history.ts";
import { Proxy } from "./proxy.ts";
import type { Random } from "./random.ts";
import { CUTTABLE_HOST, FaultServer } from "./server.ts";
import { readWitness } from "./witness-log.ts";

/** A process under test. */
export interface Part {
  readonly kind: "serve" | "work";
  readonly process: TestProcess;
  readonly pid: number;
  /** On its way to the database; to that of the first cell, where there are several. */
  readonly proxy: Proxy;
  /** On its way to each cell, in their order. */
  readonly proxies: readonly Proxy[];
  /** Where it listens, once it does. */
  url: string | undefined;
  isReady: boolean;
  /** When it ended by itself or was ended. */
  deathMs: number | undefined;
  /** Whether somebody asked it to end. */
  isDismissed: boolean;
}

/** How to start a part. */
export interface PartOptions {
  readonly environment?: Record<string, string>;
  /** Flags of Node. */
  readonly nodeOptions?: string;
  /** Another version of the program. */
  readonly main?: string;
  /** Over the loopback address whose link can be cut, without a proxy. */
  readonly cuttable?: boolean;
  /** Whether it may take its time to be ready. */
  readonly isPatient?: boolean;
  /** Whether it will end by a fault of its own: then its accounts must be in other hands within 2 s. */
  readonly isDoomed?: boolean;
  /** Whether another one is started whenever it ends. */
  readonly isKept?: boolean;
  /** Whether it is of a version that knows fewer settings. */
  readonly isOld?: boolean;
}

const WITNESS = new URL("witness.ts", import.meta.url).pathname;

/** The lease of every worker, unless told otherwise. */
export const LEASE_MS = 2_500;

/** Short times, so that a run is short. */
const OLD_ENVIRONMENT = {
  INTURN_HANDLER: WITNESS,
  INTURN_CONCURRENCY: "50",
  INTURN_LEASE_MS: String(LEASE_MS),
  INTURN_BACKOFF_MS: "100",
  INTURN_SHUTDOWN_MS: "2000",
};

/** Attempts without limit, for crashes count as attempts. */
const ENVIRONMENT = { ...OLD_ENVIRONMENT, INTURN_BACKOFF_MS_MAX: "1000", INTURN_ATTEMPTS_MAX: "1000" };

/** What a scenario demands of its whole run. */
export interface Demands {
  /** An account with events waiting may have nobody handling it for this long, except these. */
  idleMsMax?: number;
  idleExempt?: readonly string[];
  /** Accounts that are to be blocked in the end. */
  blocked?: readonly string[];
  /** Whether the handlers count in transactions. */
  counts?: boolean;
  /** Whether processes may end by themselves. */
  mayExit?: boolean;
  drainMsMax?: number;
}

/** What a run is made on. */
export interface BenchOptions {
  readonly server: FaultServer;
  readonly random: Random;
  readonly name: string;
  /** For what the witness writes: away from the database's data, whose disk may be full or gone. */
  readonly folder: string;
  /** The program: `src/cli/main.ts`, or a mutant's. */
  readonly main?: string | undefined;
  /** Whether long versions of a fault are wanted. */
  readonly isFull: boolean;
  /** How far turns go ahead of their settles; 1 for not at all. */
  readonly unsettledMax: number;
}

/** A way to the databases of a run, with a proxy of its own for each. */
export interface Route {
  readonly proxies: readonly Proxy[];
  /** The settings that lead there. */
  readonly environment: Readonly<Record<string, string>>;
}

/** One run's surroundings. */
export class Bench {
  readonly random: Random;
  readonly clients: Clients;
  readonly database: string;
  readonly isFull: boolean;
  readonly parts: Part[] = [];
  #server: FaultServer;
  /** Of the cells besides the first one. */
  readonly #otherServers: FaultServer[] = [];
  readonly #proxies: Proxy[] = [];
  readonly #unsettledMax: number;
  readonly #main: string | undefined;
  readonly #folder: string;
  readonly #absences: Absence[] = [];
  readonly #takeovers: Takeover[] = [];
  readonly #recoveries: Recovery[] = [];
  readonly #keepers: Promise<unknown>[] = [];
  #isEnding = false;
  #isEmpty = false;
  readonly #healings: (() => Promise<void> | void)[] = [];
  readonly #closings: (() => Promise<void> | void)[] = [];
  /** Of the whole run; a scenario sets what it demands. */
  readonly demands: Demands = {};

  constructor(options: BenchOptions) {
    this.#server = options.server;
    this.random = options.random;
    this.isFull = options.isFull;
    this.#unsettledMax = options.unsettledMax;
    this.database = options.name;
    this.#main = options.main;
    this.#folder = options.folder;
    this.clients = new Clients(options.random.fork());
  }

  /** The server that all use now. */
  get server(): FaultServer {
    return this.#server;
  }

  /** New connections lead to another server, of every process and of the suite itself. Those that are open go on. */
  moveTo(server: FaultServer): void {
    this.#server = server;
    for (const part of this.parts) part.proxy.leadTo(server.port);
  }

  /** The servers of all cells, in their order; of a run without cells, its only one. */
  get stores(): readonly FaultServer[] {
    return [this.#server, ...this.#otherServers];
  }

  /** The program under test, when it is not this one. */
  get main(): string | undefined {
    return this.#main;
  }

  /** Where the witness writes. */
  get witnessFolder(): string {
    return join(this.#folder, this.database);
  }

  /** Makes the database, or that of each cell, and the witness's folder. */
  async open(options: { empty?: boolean; hasCells?: boolean } = {}): Promise<void> {
    await mkdir(this.witnessFolder, { recursive: true });
    this.#isEmpty = options.empty === true;
    if (options.hasCells === true) {
      const others = NAMES.slice(1).map(async () => this.#otherServers.push(await FaultServer.create()));
      await Promise.all(others);
    }
    await Promise.all(this.stores.map((store) => store.createDatabase(this.database, options)));
    if (options.hasCells === true) await Promise.all(NAMES.map((here, i) => this.#makeCell(here, this.stores[i])));
  }

  async #makeCell(here: string, store: FaultServer = this.#server): Promise<void> {
    const url = store.url(this.database);
    const database = openDatabase({ url, name: "faults", connectionsMax: 1, onError: () => undefined });
    await makeCell(database, { here, map: MAP });
    await database.end();
  }

  /** A way to the databases that can be cut. */
  async route(kind?: "serve" | "work"): Promise<Route> {
    const proxies = await Promise.all(this.stores.map(({ port }) => Proxy.start(port, this.random.fork())));
    this.#proxies.push(...proxies);
    const ports = proxies.map(({ port }) => ({ port, kind }));
    const urls = this.stores.map((store, i) => store.url(this.database, ports[i]));
    return {
      proxies,
      environment:
        urls.length === 1
          ? { DATABASE_URL: urls[0] ?? "" }
          : { INTURN_CELLS: urls.map((url, i) => `${NAMES[i]}=${url}`).join(",") },
    };
  }

  /** Starts servers and workers and waits until they are ready. */
  async start(counts: { servers?: number; workers?: number }, options: PartOptions = {}): Promise<Part[]> {
    const kinds = [
      ...Array<"serve">(counts.servers ?? 0).fill("serve"),
      ...Array<"work">(counts.workers ?? 0).fill("work"),
    ];
    return await Promise.all(kinds.map((kind) => this.startPart(kind, options)));
  }

  /** Starts a worker or a server behind a proxy of its own. */
  async startPart(kind: "serve" | "work", options: PartOptions = {}): Promise<Part> {
    // What the database is given later has no roles yet.
    const login = this.#isEmpty ? undefined : kind;
    const { proxies, environment } = await this.route(login);
    const [proxy] = proxies as [Proxy];
    const cuttable = { DATABASE_URL: this.server.url(this.database, { host: CUTTABLE_HOST, kind: login }) };
    const main = options.main ?? this.#main;
    const started = startProcess(
      kind === "serve" ? ["serve", "--port", "0"] : ["work"],
      {
        ...(options.isOld === true
          ? OLD_ENVIRONMENT
          : { ...ENVIRONMENT, INTURN_UNSETTLED_MAX: String(this.#unsettledMax) }),
        ...(options.cuttable === true ? cuttable : environment),
        FAULTS_WITNESS: this.witnessFolder,
        NODE_OPTIONS: options.nodeOptions ?? "",
        ...options.environment,
      },
      main === undefined ? {} : { script: main },
    );
    const part: Part = {
      kind,
      process: started,
      pid: started.child.pid ?? 0,
      proxy,
      proxies,
      url: undefined,
      isReady: false,
      deathMs: undefined,
      isDismissed: false,
    };
    this.parts.push(part);
    started.child.once("exit", () => this.#onExit(part, options));
    if (options.isPatient === true || options.isDoomed === true) {
      void started.ready.then((ready) => this.#announce(part, ready.url)).catch(() => undefined);
      // A doomed one may die before it is ready.
      if (options.isDoomed === true) await Promise.race([started.ready.catch(() => undefined), started.ended]);
      return part;
    }
    this.#announce(part, (await started.ready).url);
    return part;
  }

  #onExit(part: Part, options: PartOptions): void {
    part.deathMs ??= monotonicMs();
    if (this.clients.urls.length > 1) this.withdraw(part);
    if (part.isDismissed) return;
    if (options.isDoomed === true) {
      part.isDismissed = true;
      this.expectTakeover(part, 2_000, part.deathMs);
    }
    if (options.isKept === true && !this.#isEnding)
      this.#keepers.push(this.startPart(part.kind, options).catch(() => undefined));
  }

  #announce(part: Part, url: string | undefined): void {
    part.url = url;
    part.isReady = true;
    if (url !== undefined) this.clients.urls = [...this.clients.urls, url];
  }

  /** The clients are to send nothing to this server any more. */
  withdraw(part: Part): void {
    this.clients.urls = this.clients.urls.filter((url) => url !== part.url);
  }

  /** The workers that live and were ready once. */
  get workers(): Part[] {
    return this.left.filter((part) => part.kind === "work" && part.isReady);
  }

  /** The servers that live and were ready once. */
  get servers(): Part[] {
    return this.left.filter((part) => part.kind === "serve" && part.isReady);
  }

  /** Everybody who has not ended, and whom nobody asked to. */
  get left(): Part[] {
    return this.parts.filter((part) => part.deathMs === undefined && !part.isDismissed);
  }

  /** SIGKILL; its accounts must be in other hands within the bound, if there is one. */
  kill(part: Part, withinMs: number | undefined): void {
    part.isDismissed = true;
    part.deathMs ??= monotonicMs();
    part.process.child.kill("SIGKILL");
    if (withinMs !== undefined) this.expectTakeover(part, withinMs);
  }

  /** SIGTERM, and wait for its end. */
  async dismiss(part: Part): Promise<number | NodeJS.Signals> {
    part.isDismissed = true;
    return await part.process.stop();
  }

  /** From now on the accounts of this process must be in other hands within the bound. */
  expectTakeover(part: Part, withinMs: number, atMs: number = monotonicMs()): void {
    this.#takeovers.push({ pid: part.pid, atMs, withinMs });
  }

  /** The service is back: it must accept and handle an event within the bound. */
  expectRecovery(withinMs: number): void {
    this.#recoveries.push({ healedMs: monotonicMs(), withinMs });
  }

  /** From `fromMs` until now the process could not know what went on. */
  noteAbsence(part: Part, fromMs: number, toMs: number = monotonicMs()): void {
    this.#absences.push({ pid: part.pid, fromMs, toMs });
  }

  /** Is called at the end of the run, whatever became of it. */
  onHeal(heal: () => Promise<void> | void): void {
    this.#healings.push(heal);
  }

  /** Is called when all processes of the run have ended, and its database is gone. */
  onClose(close: () => Promise<void> | void): void {
    this.#closings.push(close);
  }

  /** Runs a statement in the run's database, as superuser. */
  async query<Row extends Record<string, unknown>>(text: string, values: unknown[] = []): Promise<Row[]> {
    return await this.server.query<Row>(text, values, this.database);
  }

  /** Runs a statement in every cell, as superuser; the rows of all. */
  async everywhere<Row extends Record<string, unknown>>(text: string, values: unknown[] = []): Promise<Row[]> {
    const asked = this.stores.map((store) => store.query<Row>(text, values, this.database));
    return (await Promise.all(asked)).flat();
  }

  /** What the handlers did so far. */
  async calls(): Promise<HandlerCall[]> {
    return await readWitness(this.witnessFolder);
  }

  /** Waits until a handler call is open that fits, and returns it. */
  async untilInHand(fits: (call: HandlerCall) => boolean, withinMs = 10_000): Promise<HandlerCall> {
    return await until(
      "a fitting event is in hand",
      async () => (await this.calls()).find((call) => call.endMs === undefined && fits(call)),
      withinMs,
    );
  }

  /** Takes every fault away. */
  async heal(): Promise<void> {
    for (const heal of this.#healings.splice(0).toReversed()) await heal();
    for (const part of this.parts) part.process.child.kill("SIGCONT");
    for (const proxy of this.#proxies) proxy.heal();
    await Promise.all(this.stores.map((store) => store.start()));
  }

  /** From now on nobody who ends is replaced. */
  async beginEnd(): Promise<void> {
    this.#isEnding = true;
    while (this.#keepers.length > 0) await this.#keepers.shift();
  }

  /** Ends everything that this run has started. */
  async close(): Promise<void> {
    await this.beginEnd();
    for (const part of this.parts) part.process.child.kill("SIGKILL");
    await Promise.all(this.parts.map((part) => part.process.ended));
    await Promise.all(this.#proxies.map((proxy) => proxy.close()));
    await this.server.dropDatabase(this.database);
    await Promise.all(this.#otherServers.map((server) => server.remove()));
    for (const close of this.#closings) await close();
  }

  /** Everything that the checker judges. */
  async collect(sent: History["sent"]): Promise<History> {
    const store: Store = await collectStores(this.stores, this.database, this.demands.counts === true);
    const deaths = this.parts.flatMap(({ pid, deathMs }): Death[] =>
      deathMs === undefined ? [] : [{ pid, atMs: deathMs }],
    );
    return {
      ...store,
      sent,
      calls: await this.calls(),
      absences: this.#absences,
      takeovers: this.#takeovers,
      recoveries: this.#recoveries,
      deaths,
      idleMsMax: this.demands.idleMsMax,
      idleExempt: this.demands.idleExempt ?? [],
      blocked: this.demands.blocked ?? [],
      unsettledMax: this.#unsettledMax,
    };
  }
}
