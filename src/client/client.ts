/**
 * A client for whoever sends events. It runs in Node and in browsers, and needs nothing but `fetch`.
 *
 * Events go out in the order in which they were handed in, one request at a time; what is handed in meanwhile travels
 * together in the next one. Each has an id before its first try, so a request whose answer got lost is repeated safely.
 */
import type { Appended } from "../domain/event.ts";
import { type Connection, type Exchange, exchange } from "./exchange.ts";
import { SendError } from "./send-error.ts";

/** An event to send. */
export interface SendEvent {
  readonly accountId: string;
  /** Any value that JSON has. */
  readonly data: unknown;
  readonly type?: string;
  /** Stored once in its account; without one the client makes one. */
  readonly id?: string;
  /** When it happened, RFC 3339 with a zone. */
  readonly time?: string;
  /** The seq that the event must get. */
  readonly expectedSeq?: number;
  /** Where it comes from in a trace, as W3C Trace Context writes it: the handler's span goes on from there. */
  readonly traceparent?: string | undefined;
  /** What tracing systems carry along with the `traceparent`. */
  readonly tracestate?: string | undefined;
}

/** How to send. */
export interface ClientOptions {
  /** Where the server is: `http://127.0.0.1:8000`. */
  readonly url: string;
  readonly apiKey?: string;
  /** Events in one request, 500 unless told. */
  readonly batchEventsMax?: number;
  /** Events that may wait to be sent, 10,000 unless told; more are refused with `queue_full`. */
  readonly queueMax?: number;
  /** How long a request is tried, in ms, 60,000 unless told. */
  readonly giveUpMs?: number;
  /** How long one answer is waited for, in ms, 30,000 unless told. */
  readonly answerMsMax?: number;
  /** What to do with later events of an account when one of its events is refused: by default they are not sent. */
  readonly afterRefusal?: "stop" | "continue";
  /** Instead of the global one. */
  readonly fetch?: typeof fetch;
}

/** A client; see {@link createClient}. */
export interface Client {
  /**
   * Sends an event; resolves when it is stored.
   *
   * @throws SendError when it is refused, or when nobody knows what became of it
   */
  send(event: SendEvent): Promise<Appended>;
  /** Sends events in this order; rejects with the first error, the others may be stored. */
  sendAll(events: readonly SendEvent[]): Promise<Appended[]>;
  /** Resolves when everything handed in so far has been answered or given up. */
  flush(): Promise<void>;
  /** Flushes, and takes nothing more. */
  close(): Promise<void>;
}

/** Characters of one request's body, beyond its first event. */
const BATCH_LENGTH_MAX = 1_000_000;

interface Queued {
  readonly accountId: string;
  /** JSON text. */
  readonly text: string;
  readonly resolve: (appended: Appended) => void;
  readonly reject: (error: SendError) => void;
}

/**
 * Creates a client.
 *
 * @example
 * ```ts
 * const client = createClient({ url: "http://127.0.0.1:8000", apiKey: "itn_…" });
 * const { seq } = await client.send({ accountId: "a1", type: "payment.made", data: { amount: 12 } });
 * await client.close();
 * ```
 */
export function createClient(options: ClientOptions): Client {
  return new QueueingClient(options);
}

class QueueingClient implements Client {
  readonly #connection: Connection;
  readonly #queueMax: number;
  readonly #goesOn: boolean;
  #batchEventsMax: number;
  #queue: Queued[] = [];
  #working: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: ClientOptions) {
    this.#connection = {
      address: `${options.url.replace(/\/+$/, "")}/v1/events`,
      apiKey: options.apiKey,
      fetch: options.fetch ?? fetch,
      giveUpMs: options.giveUpMs ?? 60_000,
      answerMsMax: options.answerMsMax ?? 30_000,
    };
    this.#queueMax = options.queueMax ?? 10_000;
    this.#batchEventsMax = options.batchEventsMax ?? 500;
    this.#goesOn = options.afterRefusal === "continue";
  }

  send(event: SendEvent): Promise<Appended> {
    if (this.#isClosed) return Promise.reject(new SendError("closed", "The client is closed."));
    if (this.#queue.length >= this.#queueMax) {
      return Promise.reject(new SendError("queue_full", `${this.#queueMax} events wait to be sent already.`));
    }
    return new Promise((resolve, reject) => {
      const text = JSON.stringify({ ...event, id: event.id ?? crypto.randomUUID() });
      this.#queue.push({ accountId: event.accountId, text, resolve, reject });
      this.#working ??= this.#work();
    });
  }

  async sendAll(events: readonly SendEvent[]): Promise<Appended[]> {
    return await Promise.all(events.map((event) => this.send(event)));
  }

  async flush(): Promise<void> {
    while (this.#working !== undefined) await this.#working;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.flush();
  }

  async #work(): Promise<void> {
    // What is handed in at the same moment travels together.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const batch = this.#takeBatch();
      this.#settle(
        batch,
        await exchange(
          this.#connection,
          batch.map(({ text }) => text),
        ),
      );
    }
    this.#working = undefined;
  }

  #takeBatch(): Queued[] {
    let length = 0;
    let count = 0;
    for (const { text } of this.#queue) {
      if (count > 0 && (count >= this.#batchEventsMax || length + text.length > BATCH_LENGTH_MAX)) break;
      length += text.length;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  #settle(batch: readonly Queued[], answer: Exchange): void {
    if ("events" in answer) {
      for (const [i, appended] of answer.events.entries()) batch[i]?.resolve(appended);
    } else if ("eventsMax" in answer) {
      this.#batchEventsMax = answer.eventsMax;
      this.#queue.unshift(...batch);
    } else this.#refuse(batch, answer.error, answer.index);
  }

  /** A request is stored whole or not at all: whoever is not at fault goes again, in front of what waits. */
  #refuse(batch: readonly Queued[], error: SendError, index: number | undefined): void {
    const refused = index === undefined ? batch : batch.slice(index, index + 1);
    for (const { reject } of refused) reject(error);
    const behind = index === undefined ? [] : batch.slice(index + 1);
    const before = index === undefined ? [] : batch.slice(0, index);
    const isAlone = this.#goesOn && index !== undefined;
    const stopped = new Set(isAlone ? [] : refused.map(({ accountId }) => accountId));
    const [late, rest] = partition([...behind, ...this.#queue], ({ accountId }) => stopped.has(accountId));
    const { status, problem } = error;
    const message = "An earlier event of this account was not stored, and this one must not overtake it.";
    for (const { reject } of late)
      reject(new SendError("predecessor_failed", message, { status, problem, cause: error }));
    this.#queue = [...before, ...rest];
  }
}

function partition<Item>(items: readonly Item[], isFirst: (item: Item) => boolean): [Item[], Item[]] {
  return [items.filter(isFirst), items.filter((item) => !isFirst(item))];
}
