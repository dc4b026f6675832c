/**
 * A worker's life as the others see it: its lease, renewed twice a second, and its sign of life. From here the worker
 * learns how far it may trust its own lease.
 */

import type { Database, Queryable } from "../db/pool.ts";
import type { DatabaseAddress } from "../db/session-settings.ts";
import { openSignOfLife, type SignOfLife } from "../db/sign-of-life.ts";
import { type News, type Renewed, renewWorkerLease, type WorkerIdentity } from "../db/workers.ts";
import { LEASE_TIMES } from "../domain/lease-times.ts";
import type { Log } from "../log/log.ts";
import type { PauseWatch } from "./pause-watch.ts";

/** What a life needs. */
export interface LifeOptions {
  readonly url: DatabaseAddress;
  /** For renewals while the sign of life is being restored. */
  readonly database: Database;
  readonly worker: WorkerIdentity;
  /** Reads the list of pauses when a renewal tells of a new one. */
  readonly pauses: Pick<PauseWatch, "version" | "read">;
  readonly leaseMs: number;
  /** Accounts in hand; null when the worker takes no more. */
  readonly inHand: () => number | null;
  readonly log: Log;
  /** Hears what each renewal tells of the others. */
  readonly onNews: (news: News) => void;
  /** Hears that others may have the accounts by now. */
  readonly onLost: (why: string) => void;
}

/** The lease and the sign of life of one worker. */
export class Life {
  readonly #options: LifeOptions;
  #sign: SignOfLife | undefined;
  /** Of the last sign of life, also while it is being restored: no lock, but renewals. */
  #lifeKey: number | null = null;
  #signSinceMs = Number.POSITIVE_INFINITY;
  #confirmedMs = Number.NEGATIVE_INFINITY;
  #waiting: (() => void)[] = [];
  #hasBegun = false;
  #lost = false;
  #failing = false;
  /** The name under which graphile-worker locks this process's jobs. */
  graphilePool: string | null = null;

  constructor(options: LifeOptions) {
    this.#options = options;
  }

  /** Whether renewals are answered. */
  get isGood(): boolean {
    return this.#confirmedWithin(LEASE_TIMES.silentMs);
  }

  /** Resolves when the lease is known to be good; undefined when it is. */
  confirmed(): Promise<void> | undefined {
    if (this.#isConfirmed()) return undefined;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Whether this worker has been in touch for long enough to say which of the others are dead. */
  get mayJudge(): boolean {
    return this.#isConfirmed() && performance.now() - this.#signSinceMs > LEASE_TIMES.judgingMs;
  }

  /** Takes the lease for the first time. Rejects when the database is away. */
  async begin(): Promise<void> {
    await this.#renew();
  }

  /** Renews once; never rejects. Returns the ms to wait before the next renewal. */
  async renewPass(): Promise<number> {
    try {
      await this.#renew();
      this.#failing = false;
      // An answer that lay about while the process was stopped confirms nothing: then the next renewal is due at once.
      return Math.max(0, this.#confirmedMs + LEASE_TIMES.renewalMs - performance.now());
    } catch (error) {
      // Other workers may be taking our accounts. If the database is down they are not, but we cannot tell the two apart.
      if (!this.#isConfirmed()) this.#lose("the database cannot be reached");
      if (!this.#failing) this.#options.log.warn({ err: error }, "the lease cannot be renewed; trying again");
      this.#failing = true;
      return LEASE_TIMES.retryMs;
    }
  }

  /** Ends all waits for a confirmation: the turns were told by a signal not to start anything. */
  releaseWaiting(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Ends the sign of life. */
  async end(): Promise<void> {
    await this.#sign?.close();
  }

  /** Whether a handler may be started: our sign of life may have ended without our hearing of it. */
  #isConfirmed(): boolean {
    return this.#confirmedWithin(LEASE_TIMES.trustedMs);
  }

  #confirmedWithin(ms: number): boolean {
    const goodForMs = Math.min(ms, LEASE_TIMES.leaseShare * this.#options.leaseMs);
    return performance.now() - this.#confirmedMs < goodForMs;
  }

  async #renew(): Promise<void> {
    const sentMs = performance.now();
    const renewed = await this.#renewOverSign().catch(async (error: unknown) => {
      this.#dropSign();
      // A broken connection alone is no reason to be taken for dead; a database that does not answer is.
      if (performance.now() - sentMs >= LEASE_TIMES.silentMs) throw error;
      return await this.#renewOver(this.#options.database);
    });
    this.#lost = false;
    // Before turns that wait for a confirmation continue: other workers may have their accounts.
    if (renewed.entered && this.#hasBegun) this.#lose("its lease had run out: it was stalled or cut off for too long");
    this.#hasBegun = true;
    this.#confirmedMs = sentMs;
    if (this.#isConfirmed()) this.releaseWaiting();
    this.#options.onNews(renewed);
  }

  async #renewOverSign(): Promise<Renewed> {
    if (this.#sign?.hasEnded() === true) this.#dropSign();
    if (this.#sign === undefined) {
      this.#sign = await openSignOfLife(this.#options.url);
      this.#lifeKey = this.#sign.lifeKey;
      this.#signSinceMs = performance.now();
    }
    return await this.#renewOver(this.#sign.client);
  }

  /** The lease is good again only when the worker goes by the list of pauses as it was after `connection` was asked. */
  async #renewOver(connection: Queryable): Promise<Renewed> {
    const { worker, leaseMs, pauses, inHand } = this.#options;
    const renew = async () => {
      const ties = {
        lifeKey: this.#lifeKey,
        graphilePool: this.graphilePool,
        pausesVersion: pauses.version,
        inHand: inHand(),
      };
      return await renewWorkerLease(connection, { ...worker, ...ties }, leaseMs);
    };
    const renewed = await renew();
    if (renewed.pausesVersion === pauses.version) return renewed;
    await pauses.read(connection);
    // Whoever has begun a pause waits to hear that this worker knows of it.
    const again = await renew();
    return { ...again, entered: renewed.entered || again.entered };
  }

  #dropSign(): void {
    void this.#sign?.close();
    this.#sign = undefined;
    this.#signSinceMs = Number.POSITIVE_INFINITY;
  }

  #lose(why: string): void {
    if (this.#lost) return;
    this.#lost = true;
    this.#options.onLost(why);
  }
}
