/**
 * A worker's sign of life: a connection of its own that holds an advisory lock. The lock ends with the process, at once
 * when it is killed, and within seconds when its machine or the network is gone.
 */
import { randomInt } from "node:crypto";
import pg from "pg";
import { LIFE_LOCK_CLASS } from "./workers.ts";

/** A connection that takes longer than this to be made, or to answer, is silent. */
const ANSWER_MS_MAX = 2_500;

/**
 * A client that vanished without a word is noticed by the server after about four seconds. A worker that hears nothing
 * tells its handlers to stop after {@link ANSWER_MS_MAX} and one renewal, so before anybody takes its accounts.
 */
const KEEPALIVES =
  "-c tcp_keepalives_idle=1 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3 -c tcp_user_timeout=4000";

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
export async function openSignOfLife(url: string): Promise<SignOfLife> {
  const client = new pg.Client({
    connectionString: url,
    application_name: "inturn sign of life",
    connectionTimeoutMillis: ANSWER_MS_MAX,
    query_timeout: ANSWER_MS_MAX,
    keepAlive: true,
    options: KEEPALIVES,
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
