/** How far a worker may trust its own lease. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openDatabase } from "../src/db/pool.ts";
import { LEASE_TIMES } from "../src/domain/lease-times.ts";
import { Life } from "../src/engine/life.ts";
import { PauseWatch } from "../src/engine/pause-watch.ts";
import { createLog } from "../src/log/log.ts";
import { withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";

test(
  "a worker whose sign of life ends without its hearing of it starts nothing more before others may take its accounts",
  withDatabase(async (db) => {
    const address = new URL(db.url);
    const network = await startNetwork(Number(address.port));
    address.hostname = "127.0.0.1";
    address.port = String(network.port);
    const database = openDatabase({ url: address.href, name: "life", connectionsMax: 2, onError: () => undefined });
    const id = randomUUID();
    const life = new Life({
      url: address.href,
      database,
      worker: { id, host: "here", pid: process.pid, concurrency: 1 },
      pauses: new PauseWatch(database),
      leaseMs: 60_000,
      inHand: () => 0,
      log: createLog({ name: "life", level: "silent" }),
      onNews: () => undefined,
      onLost: () => undefined,
    });
    const over = new AbortController();
    const renewing = (async () => {
      await life.begin();
      while (!over.signal.aborted) await sleep(await life.renewPass());
    })();
    try {
      await until("the lease is confirmed", () => life.confirmed() === undefined);
      // Nothing passes any more, and the server ends the connection that is the sign of life: the worker cannot hear of it.
      network.cut();
      await db.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'inturn sign of life'",
      );
      for (let age = 0; age < 2 * LEASE_TIMES.lifelessMs; ) {
        const [row] = await db.query<{ age: number }>(
          `select (extract(epoch from clock_timestamp() - renewed_at) * 1000)::double precision as age
           from inturn.workers where id = $1`,
          [id],
        );
        age = row?.age ?? Number.NaN;
        const starts = life.confirmed() === undefined;
        assert.ok(!starts || age < LEASE_TIMES.lifelessMs, `it still starts handlers ${age} ms after its last renewal`);
        await sleep(20);
      }
    } finally {
      over.abort();
      network.close();
      await renewing;
      await life.end();
      await database.end();
    }
  }),
);

/** A network between the worker and PostgreSQL. Cut, it loses everything, also that a connection has ended. */
async function startNetwork(targetPort: number): Promise<{ port: number; cut(): void; close(): void }> {
  const sockets = new Set<Socket>();
  let isCut = false;
  const relay = (from: Socket, to: Socket) => {
    sockets.add(from);
    from.on("data", (chunk) => isCut || to.write(chunk));
    from.on("error", () => undefined).on("close", () => isCut || to.destroy());
  };
  const server = createServer((client) => {
    const upstream = connect({ port: targetPort, host: "127.0.0.1" });
    relay(client, upstream);
    relay(upstream, client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as { port: number }).port,
    cut: () => (isCut = true),
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
