import { randomUUID } from "node:crypto";
import { codeOf, isReadOnly } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import type { Permits } from "./permits.ts";
import type { Database, Queryable, TransactionClient } from "./pool.ts";
import { ownsSessions, settingsBehindBegin } from "./pooled.ts";
import { endTransaction, rememberListeners } from "./session.ts";
import { GuardedClient } from "./transaction-client.ts";

/** How a transaction is run. */
export interface TransactionOptions {
  /** As many as the pool has connections: one each. */
  readonly permits: Permits;
  /**
   * A transaction that does nothing for this long is ended by the server: a process that was stopped in the middle must not
   * keep its rows locked for longer than its lease.
   */
  readonly idleMsMax: number;
  /** Aborts when the transaction is not worth waiting for any more. One that has begun goes on. */
  readonly signal?: AbortSignal | undefined;
  /** Hears of queries that come when the work is over. */
  readonly onLate: (error: InturnError) => void;
}

/** What is done in a transaction. */
interface TransactionSteps<Result, Finished> {
  readonly work: (client: TransactionClient) => Promise<Result>;
  /** Comes after the work and everything that it has begun, in the same transaction. `mark` names it (see `isIn`). */
  readonly finish: (client: Queryable, mark: string) => Promise<Finished>;
}

/** Is set while a transaction lasts, to a value of its own: a commit or rollback ends it too, however it is sent. */
const MARK = "inturn.transaction";

/** Whether a statement is in the transaction of that mark; in SQL, with the mark as a parameter. */
export const isIn = (parameter: string): string => `current_setting('${MARK}', true) = ${parameter}`;

/** `current transaction is aborted, commands ignored until end of transaction block` */
const IN_FAILED_TRANSACTION = "25P02";

/**
 * Runs `work` and `finish` inside a transaction and commits it when both resolve; rolls everything back when one rejects.
 *
 * @throws InturnError `transaction_unavailable` when it could not begin; `transaction_aborted` when something in it failed,
 *   whether or not anybody looked; `transaction_ended` when it was still used at its end
 */
export async function inTransaction<Result, Finished>(
  database: Database,
  options: TransactionOptions,
  steps: TransactionSteps<Result, Finished>,
): Promise<{ result: Result; finished: Finished }> {
  const { client, mark, close } = await beginUnlessAborted(database, options);
  const guard = new GuardedClient(client, options.onLate);
  const failures = watch(client);
  const ownsSession = ownsSessions(database);
  let isClean = false;
  try {
    const result = await Promise.race([steps.work(guard.client), failures.lost]);
    guard.end();
    await guard.quiet(options.idleMsMax);
    const finished = await steps.finish(client, mark).catch((error: unknown) => {
      throw codeOf(error) === IN_FAILED_TRANSACTION ? aborted(failures.last) : error;
    });
    // What has come since then may have been meant to be part of it.
    guard.check();
    const end = await endTransaction(client, "commit", ownsSession);
    isClean = end.isClean;
    if (end.tag !== "COMMIT") throw aborted(failures.last);
    return { result, finished };
  } catch (error) {
    guard.end();
    // Destroying the connection rolls back as well, when it cannot be asked to; and leaves a server that lets nobody write any more.
    const mayAsk = !isClean && !guard.isOccupied && !isReadOnly(error);
    if (mayAsk)
      isClean = await endTransaction(client, "rollback", ownsSession).then(
        (end) => end.isClean,
        () => false,
      );
    throw error;
  } finally {
    failures.stop();
    close(isClean && !guard.isStained);
  }
}

/** A transaction that has begun. */
interface Begun {
  readonly client: TransactionClient;
  readonly mark: string;
  /** Gives the connection back, or ends it when it is not clean. */
  readonly close: (isClean: boolean) => void;
}

async function beginUnlessAborted(database: Database, options: TransactionOptions): Promise<Begun> {
  const { signal } = options;
  const coming = begin(database, options);
  const { promise: aborting, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  if (signal?.aborted === true) onAbort();
  try {
    return await Promise.race([coming, aborting]);
  } catch (error) {
    // It may still come.
    void coming.then(({ close }) => close(false)).catch(() => undefined);
    throw new InturnError(
      "transaction_unavailable",
      "The transaction could not begin: there was no connection for it. That is not its event's fault, and costs no attempt.",
      { cause: error },
    );
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

async function begin(database: Database, options: TransactionOptions): Promise<Begun> {
  const { permits, idleMsMax, signal } = options;
  await permits.take();
  let client: TransactionClient | undefined;
  try {
    signal?.throwIfAborted();
    client = await database.connect();
    const mark = randomUUID();
    await client.query(
      `begin${settingsBehindBegin(database)}; set local idle_in_transaction_session_timeout = ${Math.round(idleMsMax)}; set local ${MARK} = '${mark}'`,
    );
    return { client, mark, close: closing(client, permits) };
  } catch (error) {
    client?.release(true);
    permits.giveBack();
    throw error;
  }
}

function closing(client: TransactionClient, permits: Permits): Begun["close"] {
  const removeListeners = rememberListeners(client);
  return (isClean) => {
    removeListeners();
    client.release(!isClean);
    permits.giveBack();
  };
}

/** What goes wrong on a connection, whether or not anybody awaits it. */
function watch(client: TransactionClient) {
  const { promise: lost, reject: lose } = Promise.withResolvers<never>();
  lost.catch(() => undefined);
  let last: unknown;
  const onFailure = (failure: { code?: string }) => {
    if (failure.code !== IN_FAILED_TRANSACTION) last = failure;
  };
  const onEnd = () => lose(new Error("Connection terminated unexpectedly"));
  client.connection.on("errorMessage", onFailure);
  client.once("error", lose);
  client.once("end", onEnd);
  return {
    /** Rejects when the connection breaks: work that waits for something else would keep its permit for ever. */
    lost,
    /** The last failure of a query. */
    get last() {
      return last;
    },
    stop() {
      client.connection.off("errorMessage", onFailure);
      client.off("error", lose);
      client.off("end", onEnd);
    },
  };
}

function aborted(cause: unknown): InturnError {
  const why = cause instanceof Error ? `: ${cause.message}` : "";
  return new InturnError(
    "transaction_aborted",
    `A query of the transaction failed, and its error was caught or its promise not awaited${why}. Nothing of the transaction was written. To go on after an error use a savepoint.`,
    { cause },
  );
}
