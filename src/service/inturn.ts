/**
 * Inturn inside of a program: one object for what the commands do in processes of their own.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { getRequestListener } from "@hono/node-server";
import type { SendEvent } from "../client/client.ts";
import { migrateDatabase } from "../db/migrate.ts";
import type { Operated, Operation } from "../db/operate.ts";
import type { Pulse } from "../db/pulse.ts";
import { readPulse } from "../db/pulse.ts";
import type { Transaction } from "../db/transactions-of-others.ts";
import type { Appended } from "../domain/event.ts";
import { createAppender } from "../engine/append.ts";
import { carryOutVerb } from "../engine/operate.ts";
import { InturnError } from "../errors/error.ts";
import { toInturnError } from "../http/problem.ts";
import { ApiMetrics } from "../metrics/api-metrics.ts";
import { appendIn, toNewEvents } from "./append-in.ts";
import { type ComposedApi, composeApi, openApiPools } from "./compose-api.ts";
import { checkInturnOptions, type InturnOptions } from "./inturn-options.ts";
import { readStatus, type Status } from "./status.ts";
import { type RunningWorker, startWorker } from "./work.ts";

/** A verb of an operator, and its account. */
export type OperateOptions = Omit<Operation, "who"> & {
  /** What the record of operators' work says; `inturn` unless told. */
  readonly who?: string;
};

/** The API as something to mount: what answers a request of the Fetch standard. */
export interface MountableApp {
  readonly fetch: (request: Request) => Response | Promise<Response>;
}

/** Inturn inside of a program; see {@link createInturn}. */
export interface Inturn {
  /** The HTTP API and the dashboard, for whatever speaks the Fetch standard: `hono.mount("/inturn", inturn.app.fetch)`. */
  readonly app: MountableApp;
  /** The same for a server of Node's: `express.use("/inturn", inturn.listener)`, before anything that reads bodies. */
  readonly listener: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  /** Brings the database to this version. Any number of processes may do so at once. */
  migrate(): Promise<void>;
  /**
   * Stores events, all or none, in their order, after those that their accounts have. Resolves after the commit.
   *
   * With `transaction` they are a part of it instead: they exist when it commits. See `appendIn`.
   *
   * @throws InturnError as the HTTP API answers: `event_invalid`, `event_id_reused`, `account_full`, …
   */
  append(events: readonly SendEvent[], options?: { transaction?: Transaction }): Promise<readonly Appended[]>;
  /**
   * Starts handling events here; resolves when it works. While the database is away it waits for it. Calling it again changes
   * nothing.
   *
   * @returns `failed` resolves, with the reason, when the worker cannot go on and no other try would help
   * @throws InturnError `handler_missing`, `settings_invalid`; `stopped` when `stop` ended the wait
   */
  startWorker(): Promise<Pick<RunningWorker, "failed">>;
  /** Carries out an operator's verb. @throws InturnError `account_not_found`, `account_running`, … */
  operate(operation: OperateOptions): Promise<Operated>;
  /** How everything is; rates are those since the call before. */
  status(): Promise<Status>;
  /** Ends turns after the event in hand, gives the accounts back and closes all connections. Nothing works after it. */
  stop(): Promise<void>;
}

/**
 * Creates Inturn for use inside of a program. It does nothing before it is asked to: it reads no environment, takes no signals and never
 * ends the process. Any number of them work in one process.
 *
 * @throws InturnError `settings_invalid`, `handler_invalid`
 * @example
 * ```ts
 * const inturn = createInturn({
 *   databaseUrl: "postgres://localhost/app",
 *   handler: async (event) => console.log(event.accountId, event.seq, event.data),
 * });
 * await inturn.migrate();
 * await inturn.startWorker();
 * await inturn.append([{ accountId: "a1", data: { amount: 12 } }]);
 * process.once("SIGTERM", () => void inturn.stop());
 * ```
 */
export function createInturn(options: InturnOptions): Inturn {
  return new EmbeddedInturn(options);
}

/** See {@link createInturn}. */
export class EmbeddedInturn implements Inturn {
  readonly #parts: ReturnType<typeof checkInturnOptions>;
  readonly #metrics = new ApiMetrics();
  readonly #pools: ReturnType<typeof openApiPools>;
  readonly #appender: ReturnType<typeof createAppender>;
  readonly #stopping = new AbortController();
  #api: ComposedApi | undefined;
  #listener: Inturn["listener"] | undefined;
  #worker: Promise<RunningWorker> | undefined;
  #running: RunningWorker | undefined;
  #stopped: Promise<void> | undefined;
  #before: Pulse | undefined;

  constructor(options: InturnOptions) {
    this.#parts = checkInturnOptions(options);
    this.#pools = openApiPools(this.#parts);
    this.#appender = createAppender(this.#pools.ingest, this.#parts.settings, this.#metrics);
  }

  /** Composed when it is asked for: who mounts nothing pays nothing. */
  get app(): MountableApp {
    this.#requireGoing();
    this.#api ??= composeApi(this.#parts, {
      pools: this.#pools,
      appender: this.#appender,
      metrics: this.#metrics,
      openTo: this.#parts.requireKeys ? "nobody" : "everybody",
      exposeMore: async () => (await this.#running?.exposeMetrics()) ?? "",
    });
    return this.#api.app;
  }

  get listener(): Inturn["listener"] {
    const { fetch } = this.app;
    // The program's own Request and Response stay what they are.
    this.#listener ??= getRequestListener(fetch, { overrideGlobalObjects: false });
    return this.#listener;
  }

  async migrate(): Promise<void> {
    this.#requireGoing();
    await migrateDatabase(this.#parts.databaseUrl, (line) => this.#parts.log.info(line));
  }

  async append(
    events: readonly SendEvent[],
    { transaction }: { transaction?: Transaction } = {},
  ): Promise<readonly Appended[]> {
    if (transaction !== undefined) return await appendIn(transaction, events);
    this.#requireGoing();
    if (events.length === 0) return [];
    const checked = toNewEvents(events);
    return await named(this.#appender.append(checked));
  }

  async startWorker(): Promise<Pick<RunningWorker, "failed">> {
    this.#requireGoing();
    this.#worker ??= this.#startWorker().catch((error: unknown) => {
      this.#requireGoing();
      this.#worker = undefined;
      throw error;
    });
    return await this.#worker;
  }

  async operate({ who = "inturn", ...operation }: OperateOptions): Promise<Operated> {
    this.#requireGoing();
    return await named(carryOutVerb(this.#pools.database, { ...operation, who }));
  }

  async status(): Promise<Status> {
    this.#requireGoing();
    const { database } = this.#pools;
    this.#before ??= await named(readPulse(database));
    const status = await named(readStatus(database, this.#before));
    this.#before = status;
    return status;
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #startWorker(): Promise<RunningWorker> {
    const { handler, databaseUrl, poolerUrl, settings, log, ownsProcess } = this.#parts;
    if (handler === undefined)
      throw new InturnError("handler_missing", "Give createInturn a handler: handler: async (event, context) => { … }");
    const { signal } = this.#stopping;
    const worker = await startWorker({ settings, databaseUrl, poolerUrl, log, handler, ownsProcess, signal });
    this.#running = worker;
    void worker.failed.then((error) => log.fatal({ err: error }, "the worker cannot go on"));
    return worker;
  }

  async #stop(): Promise<void> {
    this.#stopping.abort();
    this.#api?.beginClose();
    await (await this.#worker?.catch(() => undefined))?.stop();
    await this.#api?.closed();
    await this.#pools.end();
  }

  #requireGoing(): void {
    if (this.#stopped !== undefined) throw new InturnError("stopped", "This Inturn was stopped; create another one.");
  }
}

/** An error with a code of ours where there is one, as it came where nobody foresaw it. */
async function named<Result>(work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (thrown) {
    const error = toInturnError(thrown);
    throw error.code === "internal" ? thrown : error;
  }
}
