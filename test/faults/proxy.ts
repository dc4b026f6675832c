/**
 * A TCP proxy in front of PostgreSQL, one for each process under test, so that one process can be cut off or slowed down
 * alone. What is held back is delivered later, as the network does it: late writes of the past are what fencing is for.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { setImmediate as nextRound, setTimeout as sleep } from "node:timers/promises";
import type { Random } from "./random.ts";

/** What the proxy does with every connection, open or new. */
export type ProxyMode =
  | { readonly kind: "pass" }
  /** Every chunk waits, for a random time between the two. */
  | { readonly kind: "delay"; readonly leastMs: number; readonly mostMs: number }
  /** So many bytes at a time, then a pause. */
  | { readonly kind: "trickle"; readonly bytes: number; readonly pauseMs: number }
  /** Nothing passes, either way. New connections are accepted, and hear nothing. */
  | { readonly kind: "black-hole" }
  /** Requests pass, answers do not. */
  | { readonly kind: "half-open" }
  /** New connections are refused. */
  | { readonly kind: "refuse" };

/** The next statement with this name, or each one, is forwarded, or not, and its answer never arrives. */
interface Trap {
  readonly statement: string;
  readonly forwards: boolean;
  readonly stays: boolean;
  readonly sprung: () => void;
}

interface Link {
  readonly client: Socket;
  readonly server: Socket;
  /** Answers are thrown away until the statement is done, then the connection is reset. */
  doomed: boolean;
  /** The end of what the client sent last: a statement's name may be cut in two. */
  tail: string;
}

/** `ReadyForQuery`, outside a transaction: the statement before it is committed. */
const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

/** A name found in two chunks is at most this long. */
const TAIL_LENGTH = 40;

/** A running proxy. */
export class Proxy {
  readonly port: number;
  #target: { host: string; port: number };
  readonly #random: Random;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #mode: ProxyMode = { kind: "pass" };
  #changed = Promise.withResolvers<void>();
  #traps: Trap[] = [];

  private constructor(server: Server, target: { host: string; port: number }, random: Random) {
    const address = server.address();
    this.port = typeof address === "object" && address !== null ? address.port : 0;
    this.#server = server;
    this.#target = target;
    this.#random = random;
    server.on("connection", (client) => this.#link(client));
  }

  /** Starts a proxy to this port on loopback. */
  static async start(targetPort: number, random: Random): Promise<Proxy> {
    const server = createServer({ noDelay: true });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new Proxy(server, { host: "127.0.0.1", port: targetPort }, random);
  }

  /** Whether one of its connections to PostgreSQL has this port: `client_port` in `pg_stat_activity`. */
  hasPort(port: number): boolean {
    return [...this.#links].some((link) => link.server.localPort === port);
  }

  /** Sets what happens from now on; what was held back goes on its way. */
  setMode(mode: ProxyMode): void {
    this.#mode = mode;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Leads new connections to another server. */
  leadTo(port: number): void {
    this.#target = { ...this.#target, port };
  }

  /** Breaks every connection, or the share of one in `oneIn`. Returns how many. */
  reset(oneIn = 1): number {
    const chosen = [...this.#links].filter(() => this.#random.oneIn(oneIn));
    for (const link of chosen) sever(link);
    return chosen.length;
  }

  /**
   * The next statement of this name is carried out (or not, unless `forwards`), its answer is swallowed, and its
   * connection is reset. Resolves when it has come.
   */
  swallowNext(statement: string, forwards: boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#traps.push({ statement, forwards, stays: false, sprung: resolve });
    return promise;
  }

  /** No statement of this name comes through any more: its connection is reset. */
  swallowAll(statement: string): void {
    this.#traps.push({ statement, forwards: false, stays: true, sprung: () => undefined });
  }

  /** Passes everything again. */
  heal(): void {
    this.#traps = [];
    this.setMode({ kind: "pass" });
  }

  /** Breaks everything and listens no longer. */
  async close(): Promise<void> {
    this.setMode({ kind: "refuse" });
    this.reset();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #link(client: Socket): void {
    client.on("error", () => undefined);
    if (this.#mode.kind === "refuse") {
      client.resetAndDestroy();
      return;
    }
    const server = connect({ ...this.#target, noDelay: true });
    const link: Link = { client, server, doomed: false, tail: "" };
    this.#links.add(link);
    for (const socket of [client, server]) {
      socket.on("error", () => undefined);
      socket.on("close", () => {
        this.#links.delete(link);
        sever(link);
      });
    }
    void this.#pump(client, server, (chunk) => this.#inspectRequest(link, chunk));
    void this.#pump(server, client, (chunk) => this.#inspectAnswer(link, chunk), true);
  }

  async #pump(from: Socket, to: Socket, inspect: (chunk: Buffer) => boolean, isAnswer = false): Promise<void> {
    try {
      for await (const chunk of from as AsyncIterable<Buffer>) {
        await this.#untilPassing(isAnswer);
        if (inspect(chunk)) await this.#forward(to, chunk);
      }
    } catch {
      // A connection that broke: the other half is closed as well.
    }
    to.destroy();
  }

  async #untilPassing(isAnswer: boolean): Promise<void> {
    const holdsBack = () => this.#mode.kind === "black-hole" || (isAnswer && this.#mode.kind === "half-open");
    while (holdsBack()) await this.#changed.promise;
  }

  async #forward(to: Socket, chunk: Buffer): Promise<void> {
    const mode = this.#mode;
    if (mode.kind === "delay") await this.#pause(this.#random.int(mode.leastMs, mode.mostMs));
    if (mode.kind !== "trickle") {
      to.write(chunk);
      return;
    }
    for (let start = 0; start < chunk.length; start += mode.bytes) {
      to.write(chunk.subarray(start, start + mode.bytes));
      if (this.#mode === mode) await (mode.pauseMs === 0 ? nextRound() : this.#pause(mode.pauseMs));
    }
  }

  /** A pause ends when the mode changes. */
  async #pause(ms: number): Promise<void> {
    const ended = new AbortController();
    await Promise.race([sleep(ms, undefined, { signal: ended.signal }).catch(() => undefined), this.#changed.promise]);
    ended.abort();
  }

  /** Whether the request is to be forwarded. */
  #inspectRequest(link: Link, chunk: Buffer): boolean {
    if (this.#traps.length === 0) return true;
    const text = link.tail + chunk.toString("latin1");
    link.tail = text.slice(-TAIL_LENGTH);
    const trap = this.#traps.find(({ statement }) => text.includes(statement));
    if (trap === undefined) return true;
    if (!trap.stays) this.#traps.splice(this.#traps.indexOf(trap), 1);
    trap.sprung();
    if (trap.forwards) link.doomed = true;
    else sever(link);
    return trap.forwards;
  }

  /** Whether the answer is to be forwarded. */
  #inspectAnswer(link: Link, chunk: Buffer): boolean {
    if (!link.doomed) return true;
    if (chunk.subarray(-READY.length).equals(READY)) sever(link);
    return false;
  }
}

function sever(link: Link): void {
  if (!link.client.destroyed) link.client.resetAndDestroy();
  if (!link.server.destroyed) link.server.destroy();
}
