/**
 * Connections. Everything of ours that speaks to PostgreSQL does so through a pool made here.
 */
import pg from "pg";
import { speakThroughPooler } from "./pooled.ts";
import { type DatabaseAddress, RELIED_ON, reachOf, withSessionSettings } from "./session-settings.ts";

/** A pool of connections. */
export type Database = pg.Pool;

/** A pool or one connection of it: whatever runs a statement. */
export type Queryable = Pick<pg.Pool | pg.PoolClient, "query">;

/** A connection inside a transaction, as `context.transaction` hands it to a handler. */
export type TransactionClient = pg.PoolClient;

/** Longest wait for a connection, also for one that others use: past it the caller hears that the database is unavailable. */
const CONNECT_MS_MAX = 5_000;

/** Longest time one statement may take on the server, unless told. */
const STATEMENT_MS_MAX = 30_000;

/** A name that leads to another server by now is looked up again after this long, also for connections that only read. */
const LIFE_SECONDS_MAX = 60;

/** A server that does not answer at all is given up this long after its statement should have been. */
const ANSWER_MS_MAX = 2_000;

/** A server that vanished without a word is noticed after about this long. */
const SILENCE_SECONDS_MAX = 10;

/**
 * The hot statements look rows up by key, a batch at a time. A plan made while the tables were empty would scan or hash
 * them, and a prepared statement keeps its plan; so scanning is ruled out for the session.
 */
const KEYED_PLANS = { enable_seqscan: "off", enable_hashjoin: "off", enable_mergejoin: "off" };

/** A client that vanished without a word is noticed by the server. */
const KEEPALIVES = {
  tcp_keepalives_idle: String(SILENCE_SECONDS_MAX),
  tcp_keepalives_interval: "2",
  tcp_keepalives_count: "3",
  tcp_user_timeout: String(1_000 * SILENCE_SECONDS_MAX),
};

const INT8 = pg.types.builtins.INT8;

/**
 * Opens a pool.
 *
 * @param options.url PostgreSQL itself
 * @param options.pooler a pooler in front of it: then every connection goes there
 * @param options.name shown in `pg_stat_activity`
 * @param options.connectionsMax how many connections at most
 * @param options.keyedPlans for statements that only look up rows by key
 * @param options.isOfHints for what may be lost when the server crashes: a commit does not wait for the disk
 * @param options.statementMsMax longest time one statement may take on the server
 * @param options.lockMsMax longest wait for a row that somebody has locked; without it as long as a statement
 * @param options.onError hears about connections that break while nobody uses them
 */
export function openDatabase(options: {
  url: DatabaseAddress;
  pooler?: DatabaseAddress | undefined;
  name: string;
  connectionsMax: number;
  keyedPlans?: boolean;
  isOfHints?: boolean;
  statementMsMax?: number;
  lockMsMax?: number;
  onError: (error: Error) => void;
}): Database {
  const { url, pooler, statementMsMax = STATEMENT_MS_MAX, lockMsMax = 0 } = options;
  const limits = {
    statement_timeout: statementMsMax,
    idle_in_transaction_session_timeout: statementMsMax,
    lock_timeout: lockMsMax,
  };
  const settings = {
    ...(options.keyedPlans === true && KEYED_PLANS),
    ...(options.isOfHints === true && { synchronous_commit: "off" }),
  };
  const database = new pg.Pool({
    ...(pooler === undefined
      ? { ...withSessionSettings(url, { ...KEEPALIVES, ...settings }), ...limits }
      : reachOf(pooler)),
    application_name: options.name,
    max: options.connectionsMax,
    maxLifetimeSeconds: LIFE_SECONDS_MAX,
    connectionTimeoutMillis: CONNECT_MS_MAX,
    query_timeout: statementMsMax + ANSWER_MS_MAX,
    keepAlive: true,
    keepAliveInitialDelayMillis: 1_000 * SILENCE_SECONDS_MAX,
    types: createTypes(),
  });
  if (pooler !== undefined) speakThroughPooler(database, { ...RELIED_ON, ...settings, ...asText(limits) });
  // Without these two listeners a connection that breaks ends the process. The pool repeats what its connection has said, and hangs all
  // that the connection holds on it, the key that cancels its queries included: nothing for a log.
  database.on("error", () => undefined);
  database.on("connect", (client) => client.on("error", options.onError));
  return database;
}

function asText(values: Readonly<Record<string, number>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]));
}

/** Closes a pool at once, whatever its connections are doing, and waits for none: an answer may never come. */
export function destroyDatabase(database: Database, clients: Iterable<pg.PoolClient>): void {
  void database.end().catch(() => undefined);
  for (const client of clients) {
    const { stream } = (client as unknown as { connection: { stream: { destroy(): void } } }).connection;
    stream.destroy();
  }
}

/** A bigint of ours is a count, far below 2^53: a number is what everybody wants. */
function createTypes(): pg.CustomTypesConfig {
  const types = new pg.TypeOverrides();
  types.setTypeParser(INT8, Number);
  return types;
}
