/**
 * One destination of pushed events: its connections, and how many requests it has at a time. A name is resolved once for a
 * connection, the addresses are checked, and the connection goes to one of those: no second answer of a name server counts.
 */
import { lookup } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import { Agent } from "undici";
import { InturnError } from "../errors/error.ts";
import { RetryAtError } from "../errors/retry.ts";
import type { AddressCheck } from "./networks.ts";

/** A connection that is not there by then is not made. */
const CONNECT_MS_MAX = 10_000;

/** A request before which as many wait as may be under way comes again after about this long. */
const CROWDED_MS = 5_000;

/** What a destination needs. */
export interface DestinationOptions {
  readonly url: URL;
  /** Of requests at the same time. */
  readonly requestsMax: number;
  readonly check: AddressCheck;
  /** How names are resolved; the system's way unless told. */
  readonly resolve?: typeof lookup;
}

/** A host that events are pushed to. */
export class Destination {
  readonly agent: Agent;
  readonly #requestsMax: number;
  #taken = 0;
  readonly #waiting: (() => void)[] = [];

  /** @throws InturnError `push_refused` when the URL itself names an address that is not allowed */
  constructor(options: DestinationOptions) {
    const { url, requestsMax, check, resolve = lookup } = options;
    const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
    // A literal address is never resolved.
    const refusal = isIP(host) === 0 ? undefined : check(host);
    if (refusal !== undefined) throw refused(url, refusal);
    this.#requestsMax = requestsMax;
    this.agent = new Agent({
      connections: requestsMax,
      pipelining: 1,
      // The handler's own time limit ends a request.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: { timeout: CONNECT_MS_MAX, lookup: createLookup(url, check, resolve) },
    });
  }

  /**
   * Does a request when fewer are under way than may be.
   *
   * @throws RetryAtError without an attempt when too many wait already: its account leaves the worker's slot to others
   */
  async whenFree<Result>(signal: AbortSignal, work: () => Promise<Result>): Promise<Result> {
    if (this.#taken >= this.#requestsMax) await this.#wait(signal);
    else this.#taken += 1;
    try {
      signal.throwIfAborted();
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#taken -= 1;
      else next();
    }
  }

  async #wait(signal: AbortSignal): Promise<void> {
    if (this.#waiting.length >= this.#requestsMax) {
      const at = new Date(Date.now() + CROWDED_MS * (0.5 + Math.random()));
      throw new RetryAtError("the destination has as many requests as it may", at, { countsAttempt: false });
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const leave = () => {
      const i = this.#waiting.indexOf(resolve);
      if (i === -1) return;
      this.#waiting.splice(i, 1);
      reject(signal.reason as Error);
    };
    this.#waiting.push(resolve);
    signal.addEventListener("abort", leave, { once: true });
    await promise.finally(() => signal.removeEventListener("abort", leave));
  }
}

/** All addresses of a name must be allowed: one that is not shows a name server that is not to be trusted. */
function createLookup(url: URL, check: AddressCheck, resolve: typeof lookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, []);
      const refusal = addresses.map(({ address }) => check(address)).find((found) => found !== undefined);
      if (refusal !== undefined) return callback(refused(url, refusal), []);
      const [first] = addresses;
      if (options.all === true || first === undefined) return callback(null, addresses);
      callback(null, first.address, first.family);
    });
  };
}

function refused(url: URL, why: string): InturnError {
  return new InturnError(
    "push_refused",
    `Events are not pushed to ${url.host}: ${why}. INTURN_PUSH_NETWORKS may allow its network.`,
  );
}
