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
import { createLedger } from "../engine/ledger.ts";
import { every, reconcilePass, renewPass } from "../engine/recover.ts";
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

/** A worker. */
export interface Worker {
  /** Takes the lease and starts the recovery loops. Calling it again changes nothing. */
  start(): Promise<void>;
  /** One turn of an account, from claim to the end of its lease. Rejects only if the worker could not start. */
  takeTurn(accountId: string): Promise<void>;
  /** Begins to stop: turns end after the event in hand, or when their time is up. */
  beginStop(): void;
  /** After the last turn: ends the loops, takes the worker off the list and closes its connections. */
  close(): Promise<void>;
}

/** Claims, reads, settles and give-backs take two connections each at most; one is for the lease, one for the reconciler. */
const CONNECTIONS_MAX = 10;

/** Between two tries to give an account back while the database is away. */
const GIVE_BACK_RETRY_MS = 500;

/** Creates a worker; it does nothing before `start`. */
export function createWorker(options: WorkerOptions): Worker {
  const { log } = options;
  const identity: WorkerIdentity = {
    id: randomUUID(),
    host: hostname(),
    pid: process.pid,
    concurrency: options.concurrency,
  };
  const database: Database = openDatabase({
    url: options.databaseUrl,
    name: "inturn worker",
    connectionsMax: CONNECTIONS_MAX,
    keyedPlans: true,
    onError: (error) => log.warn({ err: error }, "a database connection broke"),
  });
  const ledger = createLedger(database, identity.id);
  const inHand = new Map<string, Promise<void>>();
  const stopping = createStop();
  const closing = createStop();
  let abandoned = createStop();
  let started: Promise<void> | undefined;

  async function start(): Promise<void> {
    await renewPass({ database, worker: identity, leaseMs: options.leaseMs, onLost: () => undefined });
    const loop = { signal: closing.signal, log, onErrorMs: 500 };
    void every({ ...loop, name: "renewing the lease" }, () =>
      renewPass({ database, worker: identity, leaseMs: options.leaseMs, onLost: abandonAll }),
    );
    void every({ ...loop, name: "reconciling" }, () => reconcilePass(database, log));
    log.info({ workerId: identity.id, concurrency: options.concurrency }, "worker started");
  }

  /** The lease had run out: others may have the accounts now. What runs is told; what comes next starts afresh. */
  function abandonAll(): void {
    log.error({ inHand: inHand.size }, "the worker's lease had run out: it was stalled or cut off for too long");
    abandoned.abort();
    if (!stopping.signal.aborted) abandoned = createStop();
  }

  async function runInHand(accountId: string): Promise<void> {
    const turn = {
      ledger,
      log,
      handler: options.handler,
      backoffFirstMs: options.backoffMs,
      isCrowded: () => inHand.size >= options.concurrency,
      stopping: stopping.signal,
      abandoned: abandoned.signal,
    };
    try {
      await runTurn(turn, accountId);
    } catch (error) {
      log.error({ err: error, accountId }, "a turn broke off; its account is given back");
      await giveBackAtLast(accountId);
    }
  }

  /** What a broken statement did is unknown. As long as this worker lives nobody else may take the account, so it must let go. */
  async function giveBackAtLast(accountId: string): Promise<void> {
    while (!abandoned.signal.aborted) {
      try {
        return void (await ledger.giveBack({ accountId, epoch: null, failure: null, started: true }));
      } catch (error) {
        log.debug({ err: error, accountId }, "cannot give the account back yet");
        await sleep(GIVE_BACK_RETRY_MS);
      }
    }
  }

  return {
    start: () => (started ??= start()),
    async takeTurn(accountId) {
      await (started ??= start());
      // A second wake-up waits for the first one's turn: it may carry news that the first came too early for.
      const turn = (inHand.get(accountId) ?? Promise.resolve()).then(() => runInHand(accountId));
      inHand.set(accountId, turn);
      await turn;
      if (inHand.get(accountId) === turn) inHand.delete(accountId);
    },
    beginStop() {
      if (stopping.signal.aborted) return;
      log.info({ inHand: inHand.size }, "worker stopping");
      stopping.abort();
      void sleep(options.shutdownMs, undefined, { ref: false, signal: closing.signal })
        .then(() => abandoned.abort())
        .catch(() => undefined);
    },
    async close() {
      if (closing.signal.aborted) return;
      closing.abort();
      await removeWorker(database, identity.id).catch((error: unknown) =>
        log.warn({ err: error }, "could not sign off"),
      );
      await database.end();
      log.info("worker stopped");
    },
  };
}

/** A thousand turns listen to one signal: that is no leak. */
function createStop(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}
