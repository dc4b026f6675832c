/**
 * A worker's sign of life: a connection of its own that holds an advisory lock. The lock ends with the process, at once
 * when it is killed, and within seconds when its machine or the network is gone.
 */
import { randomInt } from "node:crypto";
import pg from "pg";
import { LEASE_TIMES } from "../domain/lease-times.ts";
import { type DatabaseAddress, withSessionSettings } from "./session-settings.ts";
import { LIFE_LOCK_CLASS } from "./workers.ts";

const { silentMs, vanishedMs } = LEASE_TIMES;

/** After a second without a packet the server asks once a second, and ends the connection when `vanishedMs` are over. */
const KEEPALIVES = {
  tcp_keepalives_idle: "1",
  tcp_keepalives_interval: "1",
  tcp_keepalives_count: String(vanishedMs / 1_000 - 1),
  tcp_user_timeout: String(vanishedMs),
};

/** An open sign of life. */
export interface SignOfLife {
  readonly client: pg.Client;
  readonly lifeKey: number;
  /** Whether the connection has ended. */
  hasEnded(): boolean;
  close(): Promise<void>;
}

/**
 * Connects and takes a lock under a new key: the server may still hold the one of a connection that we lost.
 */
export async function openSignOfLife(url: DatabaseAddress): Promise<SignOfLife> {
  const client = new pg.Client({
    ...withSessionSettings(url, KEEPALIVES),
    application_name: "inturn sign of life",
    connectionTimeoutMillis: silentMs,
    query_timeout: silentMs,
    keepAlive: true,
  });
  let ended = false;
  const end = () => (ended = true);
  client.on("error", end).on("end", end);
  const lifeKey = randomInt(1, 2 ** 31 - 1);
  try {
    await client.connect();
    await client.query("select pg_advisory_lock($1, $2)", [LIFE_LOCK_CLASS, lifeKey]);
  } catch (error) {
    void client.end().catch(() => undefined);
    throw error;
  }
  return { client, lifeKey, hasEnded: () => ended, close: () => client.end().catch(() => undefined) };
}
