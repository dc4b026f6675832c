/**
 * Listening for HTTP, within limits, and ending it.
 */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import { codeOf } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";
import type { Listening } from "./listening.ts";

/** A request must have arrived whole after this long. */
const REQUEST_MS_MAX = 30_000;

/** Its headers after this long. */
const HEADERS_MS_MAX = 10_000;

/** Requests under way when the server stops get this long. */
const CLOSE_MS_MAX = 5_000;

/** While the server stops, connections without a request under way are looked for this often. */
const IDLE_LOOK_MS = 50;

/** Listens; rejects when the port is taken or the address is not ours. @param options.port 0 takes a free one */
export async function listen(options: {
  fetch: Parameters<typeof createAdaptorServer>[0]["fetch"];
  host: string;
  port: number;
  /** Whether other processes may listen there too, if they say so as well. */
  sharesPort?: boolean;
  connectionsMax: number;
  /** How long a connection may be idle. */
  keepAliveMs: number;
  log: Log;
}): Promise<Listening> {
  const { host, port, sharesPort = false } = options;
  const server = createAdaptorServer({
    fetch: options.fetch,
    hostname: host,
    serverOptions: {
      requestTimeout: REQUEST_MS_MAX,
      headersTimeout: HEADERS_MS_MAX,
      keepAliveTimeout: options.keepAliveMs,
      connectionsCheckingInterval: 1_000,
    },
  }) as Server;
  limitConnections(server, options.connectionsMax, options.log);
  const { promise: listening, resolve, reject } = Promise.withResolvers<void>();
  server.on("error", (error) => reject(explain(error, options)));
  server.listen({ host, port, reusePort: sharesPort }, resolve);
  await listening;
  const { address, port: taken, family } = server.address() as AddressInfo;
  const url = `http://${family === "IPv6" ? `[${address}]` : address}:${taken}`;
  return { url, close: () => closeServer(server) };
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another process listens there; choose another port",
  EACCES: "this user may not listen on that port; choose one from 1024",
  EADDRNOTAVAIL: "the address is not one of this machine",
  ENOTFOUND: "there is no such host",
  ENOTSUP: "this system has no ports that several processes share; run one process",
};

function explain(error: Error, { host, port }: { host: string; port: number }): Error {
  const reason = REASONS[codeOf(error) ?? ""];
  if (reason === undefined) return error;
  return new InturnError("address_unavailable", `Cannot listen on ${host}, port ${port}: ${reason}.`, { cause: error });
}

/** Between two lines about connections that were turned away. */
const TURNED_AWAY_LOG_MS = 60_000;

function limitConnections(server: Server, connectionsMax: number, log: Log): void {
  server.maxConnections = connectionsMax;
  let saidMs = Number.NEGATIVE_INFINITY;
  let turnedAway = 0;
  server.on("drop", () => {
    turnedAway += 1;
    if (performance.now() - saidMs < TURNED_AWAY_LOG_MS) return;
    saidMs = performance.now();
    log.warn({ turnedAway, connectionsMax }, "connections were turned away");
    turnedAway = 0;
  });
}

async function closeServer(server: Server): Promise<void> {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(() => server.closeAllConnections(), CLOSE_MS_MAX);
  server.close(() => resolve());
  // A connection whose last request has just been answered is idle from then on.
  const closing = setInterval(() => server.closeIdleConnections(), IDLE_LOOK_MS);
  await closed;
  clearInterval(closing);
  clearTimeout(timer);
}
