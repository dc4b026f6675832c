/**
 * A worker process: its lease, the accounts it has in hand, and how it stops. Which account it takes next is
 * graphile-worker's business (see preset.ts); what it may do with it is the account row's.
 */
import { randomUUID } from "node:crypto";
import { setMaxListeners } from "node:events";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { type Database, openDatabase } from "../db/pool.ts";
import { removeWorker, type WorkerIdentity } from "../db/workers.ts";
import type { Handler } from "../engine/handler.ts";
import { createLedger, type Ledger } from "../engine/ledger.ts";
import { every, giveBackStrays, reconcilePass, renewPass } from "../engine/recover.ts";
import { runTurn } from "../engine/turn.ts";
import type { Log } from "../log/log.ts";

/** What a worker is made of. */
export interface WorkerOptions {
  readonly databaseUrl: string;
  readonly handler: Handler;
  readonly log: Log;
  /** Accounts in hand at once. */
  readonly concurrency: number;
  readonly leaseMs: number;
  readonly backoffMs: number;
  /** How long a stop waits for the events in hand. */
  readonly shutdownMs: number;
}

/** Claims, reads, settles and give-backs take one connection each; one is for the lease, one for the reconciler. */
const CONNECTIONS_MAX = 6;

/** Between two tries to give an account back while the database is away. */
const GIVE_BACK_RETRY_MS = 500;

/** How long an account rests whose turn broke off: whatever broke it must not break it a thousand times a second. */
const BROKEN_TURN_REST_MS = 1_000;

/** Between two tries of a recovery loop that failed. */
const RECOVERY_RETRY_MS = 500;

/** A worker; it does nothing before `start`. */
export class Worker {
  readonly #options: WorkerOptions;
  readonly #identity: WorkerIdentity;
  readonly #database: Database;
  readonly #ledger: Ledger;
  readonly #inHand = new Map<string, Promise<void>>();
  readonly #stopping = createStop();
  readonly #closing = createStop();
  #abandoned = createStop();
  #started: Promise<void> | undefined;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#identity = { id: randomUUID(), host: hostname(), pid: process.pid, concurrency: options.concurrency };
    this.#database = openDatabase({
      url: options.databaseUrl,
      name: "inturn worker",
      connectionsMax: CONNECTIONS_MAX,
      keyedPlans: true,
      onError: (error) => options.log.warn({ err: error }, "a database connection broke"),
    });
    this.#ledger = createLedger(this.#database, this.#identity.id);
  }

  /** Takes the lease and starts the recovery loops. Calling it again changes nothing; after a failure it tries again. */
  start(): Promise<void> {
    this.#started ??= this.#start().catch((error: unknown) => {
      this.#started = undefined;
      throw error;
    });
    return this.#started;
  }

  /** One turn of an account, from claim to the end of its lease. Rejects only if the worker could not start. */
  async takeTurn(accountId: string): Promise<void> {
    await this.start();
    // A second wake-up waits for the first one's turn: it may carry news that the first came too early for.
    const turn = (this.#inHand.get(accountId) ?? Promise.resolve()).then(() => this.#runInHand(accountId));
    this.#inHand.set(accountId, turn);
    await turn;
    if (this.#inHand.get(accountId) === turn) this.#inHand.delete(accountId);
  }

  /** Begins to stop: turns end after the event in hand, or when their time is up. */
  beginStop(): void {
    if (this.#stopping.signal.aborted) return;
    this.#options.log.info({ inHand: this.#inHand.size }, "worker stopping");
    this.#stopping.abort();
    void sleep(this.#options.shutdownMs, undefined, { ref: false, signal: this.#closing.signal })
      .then(() => this.#abandoned.abort())
      .catch(() => undefined);
  }

  /** Resolves when no account is in hand any more: after `beginStop`, within the time to stop. */
  async drained(): Promise<void> {
    while (this.#inHand.size > 0) await Promise.all(this.#inHand.values());
  }

  /** After the last turn: ends the loops, takes the worker off the list and closes its connections. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const { log } = this.#options;
    this.#closing.abort();
    await removeWorker(this.#database, this.#identity.id).catch((error: unknown) =>
      log.warn({ err: error }, "could not sign off; the lease will run out"),
    );
    await this.#database.end();
    log.info("worker stopped");
  }

  async #start(): Promise<void> {
    const { log, concurrency } = this.#options;
    await this.#renew(() => undefined);
    const loop = { signal: this.#closing.signal, log, onErrorMs: RECOVERY_RETRY_MS };
    void every({ ...loop, name: "renewing the lease" }, () => this.#renew(() => this.#abandonAll()));
    void every({ ...loop, name: "reconciling" }, async () => {
      const strays = await giveBackStrays({
        database: this.#database,
        ledger: this.#ledger,
        workerId: this.#identity.id,
        isInHand: (accountId) => this.#inHand.has(accountId),
      });
      if (strays > 0) log.warn({ strays }, "gave back accounts whose claim had got lost");
      return await reconcilePass(this.#database, log);
    });
    log.info({ workerId: this.#identity.id, concurrency }, "worker started");
  }

  async #renew(onLost: () => void): Promise<number> {
    return await renewPass({
      database: this.#database,
      worker: this.#identity,
      leaseMs: this.#options.leaseMs,
      onLost,
    });
  }

  /** The lease had run out: others may have the accounts now. What runs is told; what comes next starts afresh. */
  #abandonAll(): void {
    const inHand = this.#inHand.size;
    this.#options.log.error({ inHand }, "the worker's lease had run out: it was stalled or cut off for too long");
    this.#abandoned.abort();
    if (!this.#stopping.signal.aborted) this.#abandoned = createStop();
  }

  async #runInHand(accountId: string): Promise<void> {
    const { log, handler, backoffMs, concurrency } = this.#options;
    const turn = {
      ledger: this.#ledger,
      log,
      handler,
      backoffFirstMs: backoffMs,
      isCrowded: () => this.#inHand.size >= concurrency,
      stopping: this.#stopping.signal,
      abandoned: this.#abandoned.signal,
    };
    try {
      await runTurn(turn, accountId);
    } catch (error) {
      log.error({ err: error, accountId }, "a turn broke off; its account is given back");
      await this.#giveBackAtLast(accountId, error instanceof Error ? error.message : String(error));
    }
  }

  /** What a broken statement did is unknown. As long as this worker lives nobody else may take the account, so it must let go. */
  async #giveBackAtLast(accountId: string, why: string): Promise<void> {
    const failure = { message: `the turn broke off: ${why}`, retryInMs: BROKEN_TURN_REST_MS };
    while (!this.#abandoned.signal.aborted) {
      try {
        await this.#ledger.giveBack({ accountId, epoch: null, failure, started: true });
        return;
      } catch (error) {
        this.#options.log.debug({ err: error, accountId }, "cannot give the account back yet");
        await sleep(GIVE_BACK_RETRY_MS);
      }
    }
  }
}

/** A thousand turns listen to one signal: that is no leak. */
function createStop(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}
