/**
 * What Node.js alone can do: each account's events one after the other in the worker's memory, read from a file beforehand. Nothing is
 * kept, and nothing is left after a crash: a bound, no choice.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { WorkloadEvent } from "../../src/domain/workload.ts";
import { nothing, type Peer, type Surroundings, WORKERS } from "./peer.ts";

const fileOf = ({ folder }: Surroundings) => join(folder, "events.json");

export const inMemory: Peer = {
  name: "in memory",
  package: "node",
  what: "a bound: a chain of promises per account, nothing stored",
  events: 200_000,
  isEndToEnd: false,
  start: nothing,
  send: async (surroundings, events) => await writeFile(fileOf(surroundings), JSON.stringify(events)),
  async work(surroundings, share, onEvent) {
    const events = JSON.parse(await readFile(fileOf(surroundings), "utf8")) as readonly WorkloadEvent[];
    const accounts = [...Map.groupBy(events, ({ accountId }) => accountId)].toSorted(([a], [b]) => (a < b ? -1 : 1));
    const handle = async ({ accountId, n }: WorkloadEvent) => onEvent(accountId, n);
    for (const [, own] of accounts.filter((_, i) => i % WORKERS === share)) {
      void (async () => {
        for (const event of own) await handle(event);
      })();
    }
    return async () => undefined;
  },
};
