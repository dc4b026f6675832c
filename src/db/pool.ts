/**
 * Connections. Everything of ours that speaks to PostgreSQL does so through a pool made here.
 */
import pg from "pg";

/** A pool of connections. */
export type Database = pg.Pool;

/** Longest wait for a connection: past it the caller hears that the database is unavailable. */
const CONNECT_MS_MAX = 5_000;

/** Longest time one statement may take on the server. */
const STATEMENT_MS_MAX = 30_000;

/** A server that vanished without a word is noticed after about this long. */
const SILENCE_SECONDS_MAX = 10;

/**
 * The hot statements look rows up by key, a batch at a time. A plan made while the tables were empty would scan or hash
 * them, and a prepared statement keeps its plan; so scanning is ruled out for the session.
 */
const KEYED_PLANS = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off";

const INT8 = pg.types.builtins.INT8;

/**
 * Opens a pool.
 *
 * @param options.name shown in `pg_stat_activity`
 * @param options.connectionsMax how many connections at most
 * @param options.keyedPlans for statements that only look up rows by key
 * @param options.onError hears about connections that break while nobody uses them
 */
export function openDatabase(options: {
  url: string;
  name: string;
  connectionsMax: number;
  keyedPlans?: boolean;
  onError: (error: Error) => void;
}): Database {
  const database = new pg.Pool({
    connectionString: options.url,
    application_name: options.name,
    max: options.connectionsMax,
    connectionTimeoutMillis: CONNECT_MS_MAX,
    statement_timeout: STATEMENT_MS_MAX,
    query_timeout: STATEMENT_MS_MAX + 5_000,
    idle_in_transaction_session_timeout: STATEMENT_MS_MAX,
    keepAlive: true,
    keepAliveInitialDelayMillis: 1_000 * SILENCE_SECONDS_MAX,
    options: [
      `-c tcp_keepalives_idle=${SILENCE_SECONDS_MAX} -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3`,
      options.keyedPlans === true ? KEYED_PLANS : "",
    ].join(" "),
    types: createTypes(),
  });
  // Without these two listeners a connection that breaks ends the process.
  database.on("error", options.onError);
  database.on("connect", (client) => client.on("error", options.onError));
  return database;
}

/** A bigint of ours is a count, far below 2^53: a number is what everybody wants. */
function createTypes(): pg.CustomTypesConfig {
  const types = new pg.TypeOverrides();
  types.setTypeParser(INT8, Number);
  return types;
}
