import type pg from "pg";
import { type Database, destroyDatabase, openDatabase } from "../db/pool.ts";
import type { DatabaseAddress } from "../db/session-settings.ts";
import type { Log } from "../log/log.ts";
import { DISPATCHER_CONNECTIONS_MAX } from "./pools.ts";

/** The connections of one runner of graphile-worker. */
export interface DispatcherPool {
  readonly pool: Database;
  /** Closes them at once. */
  readonly destroy: () => void;
}

type Release = (error?: Error | boolean) => void;

/** A pool that ends calls it without anything to release. */
type OnConnect = (error: Error | undefined, client?: pg.PoolClient, release?: Release) => void;

/**
 * Opens the pool of one runner.
 *
 * A wake-up is a hint: where a crash of the server forgets that it was fetched or completed, it comes again and finds nothing to do. So
 * fetching and completing do not wait for the disk, as an append, a claim and a settle do.
 *
 * A runner that loses its listening connection while it gives up releases that connection twice, in a function that nobody
 * waits for; pg throws at the second time, and the process would end. Here the second time does nothing.
 */
export function openDispatcherPool(url: DatabaseAddress, log: Log): DispatcherPool {
  const clients = new Set<pg.PoolClient>();
  const pool = openDatabase({
    url,
    name: "inturn dispatcher",
    connectionsMax: DISPATCHER_CONNECTIONS_MAX,
    isOfHints: true,
    onError: (error) => log.debug({ err: error }, "a connection of graphile-worker broke"),
  });
  pool.on("connect", (client) => clients.add(client)).on("remove", (client) => clients.delete(client));
  const connect = pool.connect.bind(pool);
  const connectOnce = (onConnect?: OnConnect) =>
    onConnect === undefined
      ? connect()
      : connect((error, client, release) => onConnect(error, client, atMostOnce(release)));
  pool.connect = connectOnce as typeof pool.connect;
  return { pool, destroy: () => destroyDatabase(pool, clients) };
}

function atMostOnce(release: Release | undefined): Release | undefined {
  if (release === undefined) return undefined;
  let isReleased = false;
  return (error) => {
    if (isReleased) return;
    isReleased = true;
    release(error);
  };
}
