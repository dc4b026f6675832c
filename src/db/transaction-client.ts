/**
 * The client that the work of a transaction is given. It does what a client of `pg` does, except to end its transaction or
 * its connection; and it is dead as soon as the work is over: the connection is somebody else's by then.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { InturnError } from "../errors/error.ts";
import type { TransactionClient } from "./pool.ts";
import { readTransactionControl, type TransactionControl } from "./transaction-control.ts";

/** What is the transaction's own business. */
const NOT_TO_CALL: ReadonlySet<PropertyKey> = new Set(["release", "end", "connect"]);

/** Savepoints of one name lie on one another: each of these speaks of the topmost. */
const AS_SAVEPOINT = {
  begin: "savepoint inturn",
  commit: "release savepoint inturn",
  rollback: "rollback to savepoint inturn; release savepoint inturn",
} as const;

type Callback = (error: Error | null, result?: unknown) => void;
type Method = (...values: unknown[]) => unknown;
type Submitted = { submit: unknown } & Partial<Record<"handleReadyForQuery" | "handleError", Method>>;

/** The client of one transaction, and what its work has done with it. */
export class GuardedClient {
  readonly client: TransactionClient;
  /** What the transaction must not be committed for. */
  offence: InturnError | undefined;
  /** Whether the connection holds something that no reset takes away. */
  isStained = false;
  readonly #client: TransactionClient;
  readonly #onLate: (error: InturnError) => void;
  readonly #methods = new Map<PropertyKey, Method>();
  readonly #inFlight = new Set<Promise<unknown>>();
  /** Cursors, streams, copies: they end when their reader ends them. */
  readonly #open = new Set<Promise<unknown>>();
  /** Transactions begun inside this one. */
  #depth = 0;
  #isOver = false;

  /** @param onLate hears of every query that comes too late; its caller may not await it */
  constructor(client: TransactionClient, onLate: (error: InturnError) => void) {
    this.#client = client;
    this.#onLate = onLate;
    this.#methods.set("query", (...values) => this.#query(values));
    this.client = new Proxy(client, {
      get: (_target, name) => this.#get(name),
      set: (_target, name, value) => {
        this.isStained = true;
        return Reflect.set(client, name, value);
      },
    });
  }

  /** From now on it refuses everything. */
  end(): void {
    this.#isOver = true;
  }

  /** Whether a cursor, a stream or a copy has not ended. */
  get isOccupied(): boolean {
    return this.#open.size > 0;
  }

  /**
   * Waits for the queries in flight.
   *
   * @param idleMsMax how long it waits for a cursor, a stream or a copy
   * @throws InturnError what the transaction must not be committed for
   */
  async quiet(idleMsMax: number): Promise<void> {
    if (this.isOccupied) {
      const waiting = new AbortController();
      await Promise.race([Promise.all(this.#open), sleep(idleMsMax, undefined, { signal: waiting.signal })]);
      waiting.abort();
    }
    if (this.isOccupied) {
      throw new InturnError(
        "transaction_aborted",
        "A cursor, stream or copy was left open at the end of the transaction; nothing of it was written. Read it to its end or close it.",
      );
    }
    while (this.#inFlight.size > 0) await Promise.all(this.#inFlight);
    if (this.#depth > 0) {
      this.#offend("A transaction was begun inside the transaction and not ended, by commit or rollback.");
    }
    this.check();
  }

  /** @throws InturnError what the transaction must not be committed for */
  check(): void {
    if (this.offence !== undefined) throw this.offence;
  }

  #get(name: PropertyKey): unknown {
    const known = this.#methods.get(name);
    if (known !== undefined) return known;
    const value: unknown = Reflect.get(this.#client, name);
    if (typeof value !== "function" || name === "constructor") return value;
    const method = this.#guard(name, value as Method);
    this.#methods.set(name, method);
    return method;
  }

  #guard(name: PropertyKey, method: Method): Method {
    return (...values) => {
      if (this.#isOver) throw endedError(String(name));
      if (NOT_TO_CALL.has(name)) {
        throw new InturnError(
          "transaction_misused",
          `The connection of a transaction is not its handler's to ${String(name)}: it goes back by itself.`,
        );
      }
      if (name === "setTypeParser") this.isStained = true;
      const answer = method.apply(this.#client, values);
      return answer === this.#client ? this.client : answer;
    };
  }

  #query(values: unknown[]): unknown {
    const [config] = values as [string | Submitted | { text?: unknown; callback?: unknown } | null | undefined];
    const { text, isSubmitted } = describe(config);
    const control = text === undefined ? undefined : readTransactionControl(text);
    const refusal = this.#isOver ? this.#refuseLate() : this.#refuseControl(control, { text, isSubmitted });
    if (refusal !== undefined && isSubmitted) throw refusal;
    const at = values.findIndex((value) => typeof value === "function");
    const callback = (values[at] ?? (config as { callback?: unknown } | undefined)?.callback) as Callback | undefined;
    if (isSubmitted) {
      this.#track(this.#open, whenEnded(config as Submitted));
      return this.#call(values);
    }
    let answer: Promise<unknown>;
    if (refusal !== undefined) answer = Promise.reject(refusal);
    else if (control !== undefined && control !== "other") answer = this.#nest(control);
    else if (callback === undefined) answer = this.#call(values) as Promise<unknown>;
    else return this.#callBack(values, at, callback);
    this.#track(this.#inFlight, answer);
    if (callback === undefined) return answer;
    void answer.then(
      (result) => process.nextTick(callback, null, result),
      (error: Error) => process.nextTick(callback, error),
    );
  }

  #call(values: unknown[]): unknown {
    return (this.#client.query as Method).apply(this.#client, values);
  }

  #callBack(values: unknown[], at: number, callback: Callback): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#track(this.#inFlight, promise);
    const wrapped: Callback = (error, result) => {
      resolve();
      callback(error, result);
    };
    this.#call(at > 0 ? values.with(at, wrapped) : [values[0], values[1], wrapped]);
  }

  /** The failure of a query that was not awaited is reported when the transaction ends; it does not end the process. */
  #track(queries: Set<Promise<unknown>>, query: Promise<unknown>): void {
    const ended = query.catch(() => undefined);
    queries.add(ended);
    void ended.then(() => queries.delete(ended));
  }

  /** A transaction inside the transaction, of a library or by hand: a savepoint. */
  async #nest(control: keyof typeof AS_SAVEPOINT): Promise<unknown> {
    const step = control === "begin" ? 1 : -1;
    this.#depth += step;
    try {
      const results: unknown = await this.#client.query(AS_SAVEPOINT[control]);
      return Array.isArray(results) ? results[0] : results;
    } catch (error) {
      this.#depth -= step;
      throw error;
    }
  }

  #refuseControl(
    control: TransactionControl | undefined,
    query: { text: string | undefined; isSubmitted: boolean },
  ): InturnError | undefined {
    if (control === undefined) return undefined;
    const hasLike = control === "begin" || (control !== "other" && this.#depth > 0);
    if (hasLike && !query.isSubmitted) return undefined;
    return this.#offend(`The handler sent ${JSON.stringify(query.text?.slice(0, 100))}.`);
  }

  #offend(what: string): InturnError {
    const error = new InturnError(
      "transaction_misused",
      `${what} The commit and the rollback of a transaction are not its handler's; nothing of it was written. To undo all of it throw an error, to undo a part use a savepoint.`,
    );
    this.offence ??= error;
    return error;
  }

  #refuseLate(): InturnError {
    const error = endedError("query");
    this.offence ??= error;
    this.#onLate(error);
    return error;
  }
}

function endedError(what: string): InturnError {
  return new InturnError(
    "transaction_ended",
    `The client's ${what} was called after the end of its transaction, and refused. Await every query before the transaction's function ends, and keep no client.`,
  );
}

function describe(config: unknown): { text: string | undefined; isSubmitted: boolean } {
  if (typeof config === "string") return { text: config, isSubmitted: false };
  const { text, submit } = (config ?? {}) as { text?: unknown; submit?: unknown };
  return { text: typeof text === "string" ? text : undefined, isSubmitted: typeof submit === "function" };
}

/** Resolves when PostgreSQL has answered it to the end. */
async function whenEnded(query: Submitted): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const name of ["handleReadyForQuery", "handleError"] as const) {
    const method = query[name];
    query[name] = (...values) => {
      resolve();
      return method?.apply(query, values);
    };
  }
  await promise;
}
