/**
 * A worker process: its lease, the accounts it has in hand, and how it stops. Which account it takes next is
 * graphile-worker's business (see preset.ts); what it may do with it is the account row's.
 */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { carryOnOperation } from "../db/bulk-operations.ts";
import type { Database } from "../db/pool.ts";
import { reconcileOnce } from "../db/reconcile.ts";
import { type News, removeWorker, type WorkerIdentity } from "../db/workers.ts";
import { Balance } from "../engine/balance.ts";
import { createLedger, type Ledger } from "../engine/ledger.ts";
import { Life } from "../engine/life.ts";
import { PauseWatch } from "../engine/pause-watch.ts";
import { ReadAhead } from "../engine/read-ahead.ts";
import { every } from "../engine/recover.ts";
import { createStop } from "../engine/stop.ts";
import { TargetWatch } from "../engine/target-watch.ts";
import { createTransactions, type Transactions } from "../engine/transactions.ts";
import { runTurn } from "../engine/turn.ts";
import { openWorkerPools } from "./pools.ts";
import { Recovery } from "./recovery.ts";
import { startWatchdog } from "./watchdog.ts";
import type { WorkerOptions } from "./worker-options.ts";

/** Between two tries of a loop whose pass could not even be made. */
const RETRY_MS = 300;

/** Handlers that are interrupted have this long to return before their accounts are given back. */
const INTERRUPTED_MS_MAX = 500;

/** What a statement of a stop may take when the database is away. */
const SIGN_OFF_MS_MAX = 1_000;

/** A worker; it does nothing before `start`. */
export class Worker {
  readonly recovery: Recovery;
  readonly #options: WorkerOptions;
  readonly #identity: WorkerIdentity;
  readonly #database: Database;
  readonly #transactionPool: Database;
  readonly #transactions: Transactions;
  readonly #ledger: Ledger;
  readonly #life: Life;
  readonly #targets: TargetWatch;
  readonly #pauses: PauseWatch;
  readonly #balance = new Balance();
  readonly #inHand = new Map<string, Promise<void>>();
  readonly #stopping = createStop();
  readonly #abandoned = createStop();
  readonly #closing = createStop();
  #interrupted = createStop();
  #started: Promise<void> | undefined;
  #loops: Promise<void>[] = [];
  #stopWatchdog: (() => Promise<void>) | undefined;

  constructor(options: WorkerOptions) {
    const { databaseUrl: url, log, leaseMs } = options;
    this.#options = options;
    this.#identity = { id: randomUUID(), host: hostname(), pid: process.pid, concurrency: options.concurrency };
    const { database, transactionPool } = openWorkerPools(options);
    this.#database = database;
    this.#transactionPool = transactionPool;
    this.#transactions = createTransactions(transactionPool, { idleMsMax: leaseMs, log });
    const workerId = this.#identity.id;
    const { metrics, keepDays, readAheadBytesMax: bytesMax, concurrency } = options;
    const hopeless = this.#abandoned.signal;
    // What may be handled ahead of its settle is read ahead, too.
    const togetherMax = Math.max(options.batch?.eventsMax ?? 1, options.ruleOf(null).unsettledMax);
    const readAhead = new ReadAhead({ database, bytesMax, concurrency, togetherMax, hopeless, log });
    this.#ledger = createLedger({ database, workerId, hopeless, readAhead, metrics });
    this.#targets = new TargetWatch({ database, workerId, ruleOf: options.targetRuleOf, hopeless, log });
    this.#pauses = new PauseWatch(database);
    const onLost = (why: string) => this.#interruptAll(why);
    const onNews = (news: News) => {
      this.recovery.heard(news);
      this.#targets.heard(news);
      this.#balance.heard(this.#inHand.size, news.leastInHand);
    };
    const inHand = () => (this.isStopping ? null : this.#inHand.size);
    const mine = { worker: this.#identity, pauses: this.#pauses, inHand };
    this.#life = new Life({ url, database, ...mine, leaseMs, log, onNews, onLost });
    this.recovery = new Recovery({
      database,
      ledger: this.#ledger,
      workerId,
      log,
      metrics,
      keepDays,
      inHand: () => this.#inHand.keys(),
      hasFreeSlots: () => !this.isStopping && this.#inHand.size < options.concurrency,
      mayJudge: () => this.#life.mayJudge,
    });
  }

  /** Takes the lease and starts the recovery loops. Calling it again changes nothing; after a failure it tries again. */
  start(): Promise<void> {
    this.#started ??= this.#start().catch((error: unknown) => {
      this.#started = undefined;
      throw error;
    });
    return this.#started;
  }

  /** Whether it takes no more turns. */
  get isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  /** Whether it can do its work: its lease is known to be good, and turns begin when accounts are due. */
  get isReady(): boolean {
    return !this.isStopping && this.#life.isGood && this.recovery.stalledMs === 0;
  }

  /** How many accounts it runs now. */
  get inHand(): number {
    return this.#inHand.size;
  }

  /** The name under which graphile-worker locks the jobs that it hands to this worker. */
  get graphilePool(): string | null {
    return this.#life.graphilePool;
  }

  set graphilePool(pool: string | null) {
    this.#life.graphilePool = pool;
  }

  /** One turn of an account, from claim to the end of its lease. Rejects only if the worker could not start. */
  async takeTurn(accountId: string): Promise<void> {
    await this.start();
    // A second wake-up waits for the first one's turn: it may carry news that the first came too early for.
    const turn = (this.#inHand.get(accountId) ?? Promise.resolve()).then(() => this.#runTurn(accountId));
    this.#inHand.set(accountId, turn);
    await turn;
    if (this.#inHand.get(accountId) === turn) this.#inHand.delete(accountId);
  }

  /** Does the next part of an operation on many accounts. */
  async carryOn(operationId: number): Promise<void> {
    await carryOnOperation(this.#database, operationId);
  }

  /** Begins to stop: turns end after the event in hand, or when their time is up. */
  beginStop(): void {
    if (this.#stopping.signal.aborted) return;
    this.#options.log.info({ inHand: this.#inHand.size }, "worker stopping");
    this.#stopping.abort();
    this.#life.releaseWaiting();
    void sleep(this.#options.shutdownMs, undefined, { signal: this.#closing.signal })
      .then(() => this.forceStop())
      .catch(() => undefined);
  }

  /** Ends the wait for the events in hand: their handlers are told to stop, and their accounts are given back. */
  async forceStop(): Promise<void> {
    this.#stopping.abort();
    this.#interrupted.abort(new Error("the worker stops"));
    this.#life.releaseWaiting();
    await sleep(INTERRUPTED_MS_MAX, undefined, { signal: this.#closing.signal }).catch(() => undefined);
    this.#abandoned.abort();
  }

  /** Resolves when no account is in hand any more: after `beginStop`, within the time to stop and a moment. */
  async drained(): Promise<void> {
    const { signal } = this.#abandoned;
    const empty = async () => {
      while (this.#inHand.size > 0) await Promise.all(this.#inHand.values());
    };
    // A statement to a database that does not answer would keep its account in hand for long.
    const late = signal.aborted ? Promise.resolve() : once(signal, "abort");
    await Promise.race([empty(), late.then(() => sleep(SIGN_OFF_MS_MAX))]);
  }

  /** After the last turn: ends the loops, takes the worker off the list and closes its connections. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const { log } = this.#options;
    this.#closing.abort();
    // A renewal under way would enter the worker again.
    await Promise.race([Promise.all(this.#loops), sleep(SIGN_OFF_MS_MAX)]);
    const signedOff = this.#signOff().catch((error: unknown) =>
      log.warn({ err: error }, "could not sign off; the lease will run out"),
    );
    await Promise.race([signedOff, sleep(SIGN_OFF_MS_MAX)]);
    await this.#life.end();
    await this.#stopWatchdog?.();
    await Promise.race([Promise.all([this.#database.end(), this.#transactionPool.end()]), sleep(SIGN_OFF_MS_MAX)]);
    log.info("worker stopped");
  }

  async #start(): Promise<void> {
    const { log, concurrency, leaseMs, ownsProcess, handlerName: handler } = this.#options;
    await this.#life.begin();
    if (ownsProcess) this.#stopWatchdog = startWatchdog(leaseMs);
    const { signal } = this.#closing;
    this.#loops = [
      every({ signal, log, onErrorMs: RETRY_MS, name: "renewing the lease" }, () => this.#life.renewPass()),
      every({ signal, log, onErrorMs: RETRY_MS, name: "looking at the targets" }, () => this.#targets.tend()),
      every({ signal, log, onErrorMs: RETRY_MS, name: "looking at the pauses" }, () => this.#pauses.tend()),
      ...this.recovery.start(signal),
    ];
    log.info({ workerId: this.#identity.id, handler, concurrency }, "worker started");
  }

  /** Whatever it still runs goes to others at once. */
  async #signOff(): Promise<void> {
    await removeWorker(this.#database, this.#identity.id);
    await reconcileOnce(this.#database, { judges: false });
  }

  /** Others may have the accounts by now. What runs is told; what comes next starts afresh. */
  #interruptAll(why: string): void {
    this.recovery.troubled();
    this.#options.log.error({ inHand: this.#inHand.size }, `the worker may have lost its accounts: ${why}`);
    this.#interrupted.abort(new Error(why));
    this.#life.releaseWaiting();
    if (!this.#stopping.signal.aborted) this.#interrupted = createStop();
  }

  async #runTurn(accountId: string): Promise<void> {
    const { log, metrics, handler, batch, ruleOf, concurrency } = this.#options;
    this.recovery.turnBegan();
    const isWhole = await runTurn(
      {
        ledger: this.#ledger,
        transactions: this.#transactions,
        targets: this.#targets,
        pauses: this.#pauses,
        log,
        metrics,
        handler,
        batch,
        ruleOf,
        isCrowded: () => this.#inHand.size >= concurrency,
        balance: this.#balance,
        confirmed: () => this.#life.confirmed(),
        stopping: this.#stopping.signal,
        interrupted: this.#interrupted.signal,
        abandoned: this.#abandoned.signal,
      },
      accountId,
    );
    if (!isWhole) this.recovery.troubled();
  }
}
