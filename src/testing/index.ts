/**
 * For tests of handlers: Inturn with a database of its own, and a way to wait until everything is handled, without sleeping.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { urlOfDatabase } from "../db/migrate.ts";
import { type Database, openDatabase } from "../db/pool.ts";
import { listUrgentAccounts, type UrgentAccount } from "../db/urgent-accounts.ts";
import { useEmbeddedPostgres } from "../embedded/embedded-postgres.ts";
import { InturnError } from "../errors/error.ts";
import { overConnection } from "../service/connection.ts";
import { EmbeddedInturn, type Inturn } from "../service/inturn.ts";
import type { InturnOptions } from "../service/inturn-options.ts";

/** What {@link startTestInturn} takes. */
export interface TestInturnOptions extends Omit<InturnOptions, "databaseUrl" | "pool"> {
  /** The folder of the embedded PostgreSQL, `.inturn` unless told. Tests that run at once share it. */
  readonly dataFolder?: string;
  /** Instead of the embedded PostgreSQL: a server where this user may create databases. */
  readonly serverUrl?: string;
}

/** How {@link TestInturn.settled} waits. */
export interface SettledOptions {
  /** How long, in ms, 30,000 unless told. */
  readonly timeoutMs?: number;
  /** Whether blocked accounts are expected; by default one is an error that tells what its handler threw. */
  readonly allowBlocked?: boolean;
}

/** Inturn in a test; see {@link startTestInturn}. */
export interface TestInturn extends Inturn {
  /** The address of its database, which goes with `stop`. */
  readonly databaseUrl: string;
  /**
   * Resolves when nothing is left to do: every event is settled, or its account is blocked or paused.
   *
   * @throws InturnError `events_unsettled` when an account is blocked and that was not expected, or when the time is up
   */
  settled(options?: SettledOptions): Promise<void>;
}

/**
 * Starts Inturn for a test: with a database of its own, migrated, and with a worker if there is a handler.
 *
 * The embedded PostgreSQL is of the optional packages `@embedded-postgres/…`; the first start of a folder takes a few seconds.
 *
 * @example
 * ```ts
 * const inturn = await startTestInturn({ handler: book });
 * await inturn.append([{ accountId: "a1", type: "payment.made", data: { amount: 12 } }]);
 * await inturn.settled();
 * await inturn.stop();
 * ```
 */
export async function startTestInturn(options: TestInturnOptions = {}): Promise<TestInturn> {
  const { dataFolder = ".inturn", serverUrl, ...rest } = options;
  const server = serverUrl === undefined ? await useEmbeddedPostgres(dataFolder) : { url: serverUrl, release: nothing };
  const name = `inturn_test_${randomBytes(6).toString("hex")}`;
  const administer = (statement: string) =>
    overConnection({ url: server.url, name: "inturn test" }, async (connection) => await connection.query(statement));
  const release = async () => {
    await administer(`drop database if exists ${name} with (force)`);
    await server.release();
  };
  try {
    await administer(`create database ${name}`);
    const inturn = new InturnOfTest(rest, urlOfDatabase(server.url, name), release);
    await inturn.migrate();
    if (rest.handler !== undefined || rest.batch !== undefined || rest.pushUrl !== undefined)
      await inturn.startWorker();
    return inturn;
  } catch (error) {
    await release();
    throw error;
  }
}

async function nothing(): Promise<void> {}

/** Between two looks. */
const LOOK_MS = 15;

/** Accounts that an error names. */
const NAMED_MAX = 10;

class InturnOfTest extends EmbeddedInturn implements TestInturn {
  readonly databaseUrl: string;
  readonly #database: Database;
  readonly #release: () => Promise<void>;
  #ended: Promise<void> | undefined;

  constructor(options: InturnOptions, databaseUrl: string, release: () => Promise<void>) {
    super({ ...options, databaseUrl });
    this.databaseUrl = databaseUrl;
    this.#database = openDatabase({
      url: databaseUrl,
      name: "inturn test",
      connectionsMax: 1,
      onError: () => undefined,
    });
    this.#release = release;
  }

  async settled({ timeoutMs = 30_000, allowBlocked = false }: SettledOptions = {}): Promise<void> {
    const untilMs = performance.now() + timeoutMs;
    for (;;) {
      const busy = await this.#list(["running", "scheduled", "retrying", "waiting"]);
      if (busy.length === 0) break;
      if (performance.now() > untilMs) throw unsettled(`After ${timeoutMs / 1_000} s events are still pending`, busy);
      await sleep(LOOK_MS);
    }
    const blocked = allowBlocked ? [] : await this.#list(["blocked"]);
    if (blocked.length > 0) throw unsettled("Accounts are blocked", blocked);
  }

  override stop(): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  async #end(): Promise<void> {
    try {
      await super.stop();
      await this.#database.end();
    } finally {
      await this.#release();
    }
  }

  async #list(states: readonly UrgentAccount["state"][]): Promise<UrgentAccount[]> {
    return await listUrgentAccounts(this.#database, {
      states,
      prefix: "",
      sort: "urgency",
      offset: 0,
      limit: NAMED_MAX,
    });
  }
}

function unsettled(what: string, accounts: readonly UrgentAccount[]): InturnError {
  const lines = accounts.map(({ accountId, state, headSeq, attempts, error }) =>
    [`  ${accountId}/${headSeq}: ${state}, ${attempts} attempts failed`, error].filter(Boolean).join(": "),
  );
  return new InturnError("events_unsettled", `${what}:\n${lines.join("\n")}`);
}
