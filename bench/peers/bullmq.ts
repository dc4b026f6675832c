/** BullMQ: a queue for each account with one worker of concurrency 1, on a Redis that writes every command to disk. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { findCommand } from "./find-command.ts";
import { type Peer, type Surroundings, WORKERS } from "./peer.ts";

const socketOf = ({ folder }: Surroundings) => join(folder, "redis.sock");

const connect = (surroundings: Surroundings) =>
  new Redis({ path: socketOf(surroundings), maxRetriesPerRequest: null, lazyConnect: false });

const ACCOUNTS = "accounts";

export const bullmq: Peer = {
  name: "BullMQ",
  package: "bullmq",
  what: "a queue per account, one worker each; Redis with appendfsync always",
  events: 40_000,
  isEndToEnd: false,
  whyNot: async () => ((await findCommand("redis-server")) === undefined ? "there is no redis-server" : undefined),
  async start(surroundings) {
    const settings = ["--port", "0", "--unixsocket", socketOf(surroundings), "--dir", surroundings.folder];
    const durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""];
    const server = spawn("redis-server", [...settings, ...durable], { stdio: "ignore" });
    const client = connect(surroundings);
    client.on("error", () => undefined);
    while (client.status !== "ready") await sleep(20);
    await client.quit();
    return async () => {
      server.kill();
      await once(server, "exit");
    };
  },
  async send(surroundings, events) {
    const connection = connect(surroundings);
    const byAccount = Map.groupBy(events, ({ accountId }) => accountId);
    for (const [accountId, own] of byAccount) {
      const queue = new Queue(accountId, { connection });
      await queue.addBulk(own.map((data) => ({ name: "event", data, opts: { removeOnComplete: true } })));
      await connection.sadd(ACCOUNTS, accountId);
    }
    await connection.quit();
  },
  async work(surroundings, share, onEvent) {
    const connection = connect(surroundings);
    const accounts = (await connection.smembers(ACCOUNTS)).toSorted().filter((_, i) => i % WORKERS === share);
    const workers = accounts.map((accountId) => {
      const handle = async ({ data }: { data: { accountId: string; n: number } }) => onEvent(data.accountId, data.n);
      return new Worker(accountId, handle, { connection, concurrency: 1 }).on("error", () => undefined);
    });
    return async () => {
      await Promise.race([Promise.all(workers.map((worker) => worker.close(true))), sleep(5_000)]);
      connection.disconnect();
    };
  },
};
