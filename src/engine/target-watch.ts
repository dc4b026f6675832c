/**
 * What one worker knows of the targets. Their circuit breakers are in the database, shared by all workers: this looks at them a few
 * times a second while one needs care, says which targets are away, and reports how attempts go here.
 */
import type { Database } from "../db/pool.ts";
import {
  type Entry,
  endProbe,
  enterTarget,
  type ProbeEnd,
  reportAttempts,
  tendTargets,
  tripTarget,
} from "../db/targets.ts";
import type { News } from "../db/workers.ts";
import { TARGET_WINDOW_MS, type TargetRule } from "../domain/target.ts";
import type { Log } from "../log/log.ts";
import { AttemptWindow } from "./attempt-window.ts";
import { untilAvailable } from "./until-available.ts";

/** Between two looks that ask the database, at least. */
const LOOK_MS = 250;

/** Between two looks at whether there is something to ask. */
const TEND_MS = 100;

/** What nobody has told of is looked for this often: accounts that wait for a target that is closed. */
const FORGOTTEN_MS = 5_000;

/** Failures may belong to targets that handlers name as they like. */
const WINDOWS_MAX = 1_000;

/** What a worker's watch over the targets needs. */
export interface TargetWatchOptions {
  readonly database: Database;
  readonly workerId: string;
  /** When failures open a target. */
  readonly ruleOf: (target: string) => TargetRule;
  /** Aborts when it is no use to wait for the database any longer. */
  readonly hopeless: AbortSignal;
  readonly log: Log;
}

/** One worker's view of the targets. */
export class TargetWatch {
  readonly #options: TargetWatchOptions;
  readonly #windows = new Map<string, AttemptWindow>();
  #away = new Set<string>();
  #suspected = new Set<string>();
  #looking: Promise<void> | undefined;
  #lookedMs = Number.NEGATIVE_INFINITY;
  #needCare = false;

  constructor(options: TargetWatchOptions) {
    this.#options = options;
  }

  /** Whether a target was not closed at the last look. */
  isAway(target: string): boolean {
    return this.#away.has(target);
  }

  /** Asks whether an event may start although its target was away at the last look. */
  async enter(target: string, accountId: string): Promise<Entry> {
    const { database, hopeless } = this.#options;
    return await untilAvailable(hopeless, () => enterTarget(database, target, accountId));
  }

  /** Opens a target on a handler's word. Whether it is away now. */
  async trip(target: string, reason: string, retryAfterMs: number | null): Promise<boolean> {
    const { database, hopeless, log } = this.#options;
    const isNews = !this.#away.has(target);
    const isAway = await untilAvailable(hopeless, () => tripTarget(database, { target, reason, retryAfterMs }));
    if (!isAway) return false;
    this.#away.add(target);
    if (isNews) log.warn({ target, retryAfterMs, reason }, "a handler says that its target is away");
    return true;
  }

  /** Says how a probe went. */
  async endProbe(end: ProbeEnd): Promise<void> {
    const { database, hopeless, log } = this.#options;
    await untilAvailable(hopeless, () => endProbe(database, end));
    if (end.succeeded) this.#away.delete(end.target);
    const { target, accountId, reason } = end;
    if (end.succeeded) log.info({ target, accountId }, "a target is back: its probe worked");
    else log.warn({ target, accountId, reason }, "a target is still away: its probe failed");
  }

  /** Notes an attempt that went well. */
  succeeded(target: string): void {
    this.#windowOf(target)?.succeeded(performance.now());
  }

  /** Notes an attempt that failed. */
  failed(target: string, accountId: string, error: string): void {
    this.#windowOf(target)?.failed(performance.now(), accountId, error);
  }

  /** Takes note of what a renewal told of the targets. */
  heard({ targetsNeedCare }: News): void {
    this.#needCare = targetsNeedCare;
  }

  /** Looks when there is something to see, or to tell. Returns the ms to wait before the next call. */
  async tend(): Promise<number> {
    const nowMs = performance.now();
    const hasFailed = () => this.#windows.values().some(({ failedMs }) => nowMs - failedMs < TARGET_WINDOW_MS);
    const needsCare = this.#needCare || this.#away.size > 0 || this.#suspected.size > 0 || hasFailed();
    if (nowMs - this.#lookedMs >= (needsCare ? LOOK_MS : FORGOTTEN_MS)) await this.look();
    return TEND_MS;
  }

  /** Reports, lets the database do what the time has come for, and looks. */
  async look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    await this.#looking;
  }

  async #look(): Promise<void> {
    const { database, log } = this.#options;
    this.#lookedMs = performance.now();
    for (const [target, window] of this.#windows) await this.#report(target, window);
    const tended = await tendTargets(database);
    const away = new Set(tended.filter(({ state }) => state !== "closed").map(({ target }) => target));
    for (const target of away) {
      // What led to its opening must not open it again once it is closed.
      this.#windows.delete(target);
      if (!this.#away.has(target)) log.warn({ target }, "a target is away: its events wait");
    }
    for (const target of this.#away) if (!away.has(target)) log.info({ target }, "a target is back");
    this.#away = away;
    this.#suspected = new Set(tended.filter(({ suspected }) => suspected).map(({ target }) => target));
  }

  async #report(target: string, window: AttemptWindow): Promise<void> {
    const { database, workerId, ruleOf } = this.#options;
    const rule = ruleOf(target);
    const sums = window.sums(performance.now(), rule);
    if (sums.attempts === 0 || (sums.failed === 0 && !this.#suspected.has(target))) return;
    await reportAttempts(database, workerId, { target, ...sums, lastError: window.lastError, rule });
  }

  #windowOf(target: string): AttemptWindow | undefined {
    const known = this.#windows.get(target);
    if (known !== undefined || this.#windows.size >= WINDOWS_MAX) return known;
    const fresh = new AttemptWindow();
    this.#windows.set(target, fresh);
    return fresh;
  }
}
