/**
 * `doctor`: whether the database, and the way to it, are fit for Inturn.
 */
import type { Socket } from "node:net";
import pg from "pg";
import { checkSettings } from "../config/settings.ts";
import { examineDatabase } from "../db/examine.ts";
import { type Finding, type Needs, readRow } from "../db/examine-check.ts";
import { addressOf, requireSameDatabase } from "../db/migrate.ts";
import { HAS_MARK, isRefusedByPooler, MARK } from "../db/pooler.ts";
import { OLD_SNAPSHOT_SECONDS } from "../db/pulse.ts";
import { withSessionSettings } from "../db/session-settings.ts";
import { codeOf } from "../errors/database.ts";
import { textOf } from "../errors/text.ts";
import { API_CONNECTIONS_MAX } from "./compose-api.ts";

/** How long a connection, and each query, may take. */
const ANSWER_MS_MAX = 5_000;

const GO_DIRECT =
  "Set INTURN_DIRECT_DATABASE_URL to PostgreSQL itself: leases and notifications need sessions of their own, with our settings.";

/**
 * Looks at everything that can go wrong with a database, and changes nothing.
 *
 * @param options.poolerUrl a pooler in front of the database at `url`
 * @param options.workerConnections of one worker at most
 * @param options.nowMs this machine's clock
 * @param options.snapshotSecondsMax a snapshot that is kept for longer is told of
 * @returns one finding for each check, in a fixed order; only the first one when the database cannot be reached
 */
export async function examine(
  url: string,
  {
    poolerUrl,
    workerConnections = checkSettings({}).workerConnectionsMax,
    nowMs = Date.now,
    snapshotSecondsMax = OLD_SNAPSHOT_SECONDS,
  }: { poolerUrl?: string | undefined } & Partial<Omit<Needs, "apiConnections">> = {},
): Promise<Finding[]> {
  const client = createClient(url);
  try {
    await client.connect();
  } catch (error) {
    return [explainConnection(error, url)];
  }
  const needs = {
    workerConnections,
    apiConnections: API_CONNECTIONS_MAX,
    nowMs,
    snapshotSecondsMax,
  };
  try {
    const reached: Finding = { check: "reachable", level: "ok", found: addressOf(url), advice: null };
    return [reached, await findPooler(client, url, poolerUrl), ...(await examineDatabase(client, needs))];
  } finally {
    await client.end().catch(() => undefined);
  }
}

function createClient(url: string): pg.Client {
  const client = new pg.Client({
    ...withSessionSettings(url, MARK),
    application_name: "inturn doctor",
    connectionTimeoutMillis: ANSWER_MS_MAX,
    query_timeout: ANSWER_MS_MAX,
  });
  client.on("error", () => undefined);
  return client;
}

function explainConnection(error: unknown, url: string): Finding {
  const said = error instanceof Error ? error.message : textOf(error);
  if (isRefusedByPooler(error))
    return { check: "pooler", level: "problem", found: `a pooler stands in between: ${said}`, advice: GO_DIRECT };
  const found = `${addressOf(url)} cannot be used: ${said || codeOf(error)}`;
  const advice = "Check DATABASE_URL: host, port, database, user and password, TLS, and whether the server runs.";
  return { check: "reachable", level: "problem", found, advice };
}

/**
 * A pooler in transaction mode gives the session of one idle client to the next one. Any proxy shows by the port from which the
 * server sees us.
 */
async function findPooler(client: pg.Client, url: string, poolerUrl: string | undefined): Promise<Finding> {
  const seen = await readSession(client);
  const second = createClient(url);
  try {
    await second.connect();
    const { pid } = await readSession(second);
    if (pid === seen.pid)
      return {
        check: "pooler",
        level: "problem",
        found: "two connections share one session: a pooler in transaction mode stands in between",
        advice: GO_DIRECT,
      };
  } catch (error) {
    const found = `a second connection cannot be had: ${error instanceof Error ? error.message : textOf(error)}`;
    return { check: "pooler", level: "warning", found, advice: "Allow more connections." };
  } finally {
    await second.end().catch(() => undefined);
  }
  if (!seen.hasSettings) {
    const found = "a pooler in session mode stands in between, and throws the settings of our sessions away";
    return { check: "pooler", level: "problem", found, advice: GO_DIRECT };
  }
  if (poolerUrl !== undefined) return await lookThrough(poolerUrl, url);
  const { stream } = (client as unknown as { connection: { stream: Socket } }).connection;
  const isDirect = seen.port === null || seen.port === stream.localPort;
  const found = isDirect ? "nothing stands in between" : "a proxy or NAT stands in between, which does no harm";
  return { check: "pooler", level: "ok", found, advice: null };
}

/** What is known beforehand stands beside it. */
async function lookThrough(poolerUrl: string, url: string): Promise<Finding> {
  try {
    await requireSameDatabase(poolerUrl, url);
  } catch (error) {
    const found = `the pooler of DATABASE_URL cannot be used: ${textOf(error)}`;
    return { check: "pooler", level: "problem", found, advice: "Check both addresses, and the pooler itself." };
  }
  const found = `the pooler at ${addressOf(poolerUrl)} leads to the same database; sessions go to PostgreSQL itself`;
  return { check: "pooler", level: "ok", found, advice: null };
}

/** A session as the server sees it. */
interface Session {
  readonly pid: number;
  /** Null for a socket's. */
  readonly port: number | null;
  readonly hasSettings: boolean;
}

async function readSession(client: pg.Client): Promise<Session> {
  return await readRow<Session>(
    client,
    `select pg_backend_pid() as pid, inet_client_port() as port, ${HAS_MARK} as "hasSettings"`,
  );
}
