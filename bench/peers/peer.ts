/** What each peer has to do to be measured: the same events, the same order, two worker processes. */
import type { WorkloadEvent } from "../../src/domain/workload.ts";

/** Where a peer keeps its events: a server that the run has started, and a folder of its own. */
export interface Surroundings {
  /** An empty database. */
  readonly databaseUrl: string;
  /** For files, removed afterwards. */
  readonly folder: string;
}

/** Takes note that the handler has an event in hand. */
export type OnEvent = (accountId: string, n: number) => void;

/** A system that keeps events of an account in order. */
export interface Peer {
  readonly name: string;
  /** The npm package whose version stands in the table; none for what is no package. */
  readonly package: string;
  readonly what: string;
  /** How many events a full run takes: about twenty seconds' worth. */
  readonly events: number;
  /** Whether events are sent while workers run; else they wait before the workers start. */
  readonly isEndToEnd: boolean;
  /** Why it cannot be measured here; undefined when it can. */
  readonly whyNot?: () => Promise<string | undefined>;
  /** Starts what it needs besides PostgreSQL. Resolves with how to stop it. */
  readonly start: (surroundings: Surroundings) => Promise<() => Promise<void>>;
  /** Stores these events; those of one account in this order. */
  readonly send: (surroundings: Surroundings, events: readonly WorkloadEvent[]) => Promise<void>;
  /** In a worker process: handles events until it is told to stop. Share 0 or 1 of the accounts, where the peer must be told. */
  readonly work: (surroundings: Surroundings, share: number, onEvent: OnEvent) => Promise<() => Promise<void>>;
}

/** Worker processes. */
export const WORKERS = 2;

/** Nothing to start. */
export const nothing = async (): Promise<() => Promise<void>> => async () => undefined;

/** Events in one call, where a peer takes many. */
export const SEND_TOGETHER = 1_000;

/** Cuts events into parts. */
export function partsOf<Item>(items: readonly Item[], size: number): (readonly Item[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}
