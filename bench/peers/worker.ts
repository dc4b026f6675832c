/** A worker process: handles events of one peer, and tells its parent in the end which, and when. */

import type { Surroundings } from "./peer.ts";
import { PEERS } from "./peers.ts";

/** What the parent says first. */
export interface Task {
  readonly peer: string;
  readonly share: number;
  readonly surroundings: Surroundings;
}

/** What a worker tells: how many events it has handled, or all of them. */
export type Told =
  | { readonly kind: "ready" }
  | { readonly kind: "count"; readonly events: number }
  | { readonly kind: "handled"; readonly calls: readonly Handled[] };

/** One call of the handler: account, number, and the time on the machine's monotonic clock in ms. */
export type Handled = readonly [accountId: string, n: number, ms: number];

const COUNT_MS = 50;

const calls: Handled[] = [];
/** Resolves when it has left this process. */
const tell = (told: Told) => new Promise<void>((resolve) => process.send?.(told, () => resolve()));
const nowMs = () => Number(process.hrtime.bigint()) / 1e6;

process.once("message", (message) => {
  const { peer: name, share, surroundings } = message as Task;
  const peer = PEERS.find((candidate) => candidate.name === name);
  if (peer === undefined) throw new Error(`there is no peer ${name}`);
  void (async () => {
    const stop = await peer.work(surroundings, share, (accountId, n) => void calls.push([accountId, n, nowMs()]));
    const counting = setInterval(() => void tell({ kind: "count", events: calls.length }), COUNT_MS);
    await tell({ kind: "ready" });
    process.once("message", () => {
      clearInterval(counting);
      void Promise.all([tell({ kind: "handled", calls }), stop()]).finally(() => process.exit());
    });
  })();
});
