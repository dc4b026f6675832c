/**
 * The clients: each account's events are sent one after the other, and a ledger keeps what the answers said. What got no
 * answer, or 503, is sent again under the same id until it is acknowledged.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Pool } from "undici";
import { monotonicMs } from "./clock.ts";
import type { SentEvent } from "./history.ts";
import type { Random } from "./random.ts";

/**
 * What a handler can do wrong with the client of its transaction. The last two go well, and must hurt nobody else: their
 * transaction settles the event.
 */
export type Misuse =
  | "fail-unawaited"
  | "fail-late"
  | "commit-inside"
  | "rollback-inside"
  | "commit-by-hand"
  | "keep-client"
  | "litter";

/** What the witness does with an event; it travels as the event's data. */
export interface Behaviour {
  readonly n: number;
  /** How long the handler takes. */
  readonly ms?: number;
  /** How long it takes at later attempts, if not as long. */
  readonly againMs?: number;
  /** Whether it goes on when it is told to stop. */
  readonly deaf?: boolean;
  /** How many of its first attempts go wrong, in the way of `act`. */
  readonly failures?: number;
  readonly act?:
    | "throw"
    | "give-up"
    | "throw-null"
    | "reject-undefined"
    | "huge-error"
    | "stray-rejection"
    | "partial-write"
    | "exit"
    | "spin"
    | "hog"
    | "block"
    | "hang"
    | Misuse;
  readonly blockMs?: number;
  /** Raises its account's counter in a transaction that settles the event. */
  readonly counts?: boolean;
  /** Makes the event large. */
  readonly ballast?: string;
}

/** What to send. */
export interface Traffic {
  readonly accounts: readonly string[];
  /** How many events each account gets. */
  readonly eventsPerAccount: number;
  /** The sending is spread over about this time. */
  readonly overMs: number;
  /** What the handler does with each event. */
  readonly behaviourOf?: (account: string, n: number, random: Random) => Omit<Behaviour, "n">;
  readonly type?: string;
}

/** Longest wait for an answer: then what became of the event is unknown. */
const ANSWER_MS_MAX = 4_000;

/** Between two tries. */
const RETRY_MS = 100;

/** The clients of one run. */
export class Clients {
  readonly #pools = new Map<string, Pool>();
  readonly #random: Random;
  readonly #lanes: Promise<void>[] = [];
  readonly #ledger: SentEvent[] = [];
  readonly #giveUp = new AbortController();
  /** How many answers there were of each status; 0 stands for none. */
  readonly answers = new Map<number, number>();
  urls: readonly string[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  /** Starts sending, on top of what is being sent. */
  send(traffic: Traffic): void {
    for (const account of traffic.accounts) this.#lanes.push(this.#sendLane(traffic, account, this.#random.fork()));
  }

  /** Enters events that were stored without a request, with the answer that SQL gave. */
  note(events: readonly { account: string; n: number; id: string }[], stored: readonly { seq: number }[]): void {
    const answeredMs = monotonicMs();
    const entries = events.map((event, i) => ({
      ...event,
      outcome: "acknowledged" as const,
      seqs: [stored[i]?.seq ?? 0],
      answeredMs,
    }));
    this.#ledger.push(...entries);
  }

  /** Waits until everything was sent and answered; past the time nothing more is tried. Returns the ledger. */
  async finish(withinMs: number): Promise<readonly SentEvent[]> {
    const timer = setTimeout(() => this.#giveUp.abort(), withinMs);
    await Promise.all(this.#lanes);
    clearTimeout(timer);
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()));
    return this.#ledger;
  }

  async #sendLane(traffic: Traffic, account: string, random: Random): Promise<void> {
    const { eventsPerAccount, overMs, behaviourOf, type } = traffic;
    const pauseMs = (2 * overMs) / eventsPerAccount;
    const before = this.#ledger.filter((event) => event.account === account).length;
    for (let n = before + 1; n <= before + eventsPerAccount; n++) {
      await sleep(random.int(0, Math.round(pauseMs)));
      if (this.#giveUp.signal.aborted) return;
      const data: Behaviour = { n, ...(behaviourOf?.(account, n, random) ?? { ms: random.int(0, 40) }) };
      const id = `${account}-${n}`;
      const body = JSON.stringify({ accountId: account, id, data, ...(type !== undefined && { type }) });
      const sent = await this.#sendUntilAnswered({ account, n, id, body, random });
      this.#ledger.push(sent);
      // The order of sending ends with an event of which nobody knows.
      if (sent.outcome === "unknown") return;
    }
  }

  async #sendUntilAnswered(event: {
    account: string;
    n: number;
    id: string;
    body: string;
    random: Random;
  }): Promise<SentEvent> {
    const { account, n, id, body, random } = event;
    let tries = 0;
    for (;;) {
      const { status, seq } = await this.#post(random.pick(this.urls), body);
      this.answers.set(status, (this.answers.get(status) ?? 0) + 1);
      const answeredMs = monotonicMs();
      const sent = { account, n, id, seqs: seq === undefined ? [] : [seq], answeredMs };
      if (status === 202)
        return { ...sent, outcome: "acknowledged", seqs: await this.#repeatSometimes(sent.seqs, body, random) };
      if (status >= 400 && status < 500) return { ...sent, outcome: "refused" };
      tries += 1;
      if (this.#giveUp.signal.aborted) return { ...sent, outcome: "unknown" };
      await sleep(Math.min(RETRY_MS * tries, 500));
    }
  }

  /** A client that did not get its answer sends again: the second answer must be the first one's. */
  async #repeatSometimes(seqs: readonly number[], body: string, random: Random): Promise<readonly number[]> {
    if (!random.oneIn(10)) return seqs;
    const { seq } = await this.#post(random.pick(this.urls), body);
    return seq === undefined ? seqs : [...seqs, seq];
  }

  async #post(url: string, body: string): Promise<{ status: number; seq?: number }> {
    try {
      const { statusCode, body: answer } = await this.#poolOf(url).request({
        path: "/v1/events",
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
      });
      const text = await answer.text();
      return statusCode === 202
        ? { status: 202, seq: (JSON.parse(text) as { seq: number }).seq }
        : { status: statusCode };
    } catch {
      return { status: 0 };
    }
  }

  #poolOf(url: string): Pool {
    const known = this.#pools.get(url);
    if (known !== undefined) return known;
    const pool = new Pool(url, {
      connections: 12,
      pipelining: 1,
      bodyTimeout: ANSWER_MS_MAX,
      headersTimeout: ANSWER_MS_MAX,
    });
    this.#pools.set(url, pool);
    return pool;
  }
}
