import { type AppendAnswer, appendRequests, type Refusal, type RefusalOfCell } from "../db/append.ts";
import { findCellElsewhere } from "../db/cells.ts";
import { findLockedAccounts } from "../db/locked.ts";
import type { Database } from "../db/pool.ts";
import { APPEND_EVENTS_MAX, type Appended, type NewEvent } from "../domain/event.ts";
import { isBadData, isLocked } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import { ApiMetrics } from "../metrics/api-metrics.ts";
import { type Backlog, watchBacklog } from "./backlog.ts";
import { GroupCommit } from "./group-commit.ts";

/** Stores events; requests that arrive together share one transaction. */
export interface Appender {
  /**
   * Stores these events, all or none, in their order, after everything that was handed in before them. Resolves after
   * the commit.
   *
   * @throws InturnError `event_id_reused`, `seq_unexpected`, `account_full`, `wrong_cell` or `bucket_moving`, with `data.index`, `data.accountId` and
   *   `data.currentSeq` of the event at fault; `backlog_full` or `overloaded` when too much waits already; database errors as
   *   they come, among them the lock time-out of a request whose account another transaction held for too long
   */
  append(events: readonly NewEvent[], options?: AppendOptions): Promise<readonly Appended[]>;
}

/** How a request is stored. */
export interface AppendOptions {
  /** Whether it is refused rather than stored in part, which can happen only over several cells. False unless told. */
  readonly isAtomic?: boolean;
}

/** How much may wait to be handled. */
export interface PendingLimits {
  /** Events of one account; counted exactly. */
  readonly accountPendingMax: number;
  /** Events of all accounts; counted about once a second. */
  readonly pendingMax: number;
}

/** What may wait in memory, in events of common size; some seconds of work for the database. */
const WAITING_WEIGHT_MAX = 50_000;

/** Characters of data that weigh as much as one event: a batch carries 8 MB of it at most, beyond its first request. */
const CHARACTERS_PER_WEIGHT = 4_096;

/** A request whose account somebody else holds is refused after this long; the others do not wait for it. */
const LOCKED_MS_MAX = 5_000;

/** What may wait for locked accounts, beside what waits for its batch. */
const LOCKED_WEIGHT_MAX = 50_000;

/** Creates an appender over a pool. */
export function createAppender(
  database: Database,
  limits: PendingLimits,
  metrics: ApiMetrics = new ApiMetrics(),
): Appender {
  const backlog = watchBacklog(database);
  const group = new GroupCommit<readonly NewEvent[], AppendAnswer>({
    weightMax: APPEND_EVENTS_MAX,
    weigh: weightOf,
    isItemsFault: isBadData,
    detour: {
      isLocked,
      accountsOf: (events) => events.map((event) => event.accountId),
      findLocked: (accountIds) => findLockedAccounts(database, accountIds),
      waitMsMax: LOCKED_MS_MAX,
      waitingWeightMax: LOCKED_WEIGHT_MAX,
    },
    commit: (requests) => {
      metrics.appendBatch(requests.reduce((events, request) => events + request.length, 0));
      return appendRequests(database, requests, limits);
    },
  });
  return {
    async append(events) {
      if (group.waitingWeight + weightOf(events) > WAITING_WEIGHT_MAX) {
        throw new InturnError("overloaded", "Too many events are waiting to be stored; try again shortly.");
      }
      refuseFullBacklog(backlog, events.length, limits.pendingMax);
      const answer = await group.submit(events);
      if ("refusal" in answer) {
        const { refusal } = answer;
        throw "currentSeq" in refusal ? toError(refusal, limits) : await toCellError(database, refusal);
      }
      backlog.grew(events.length);
      metrics.accepted(answer.appended);
      return answer.appended;
    },
  };
}

function refuseFullBacklog(backlog: Backlog, events: number, pendingMax: number): void {
  if (backlog.size() + events <= pendingMax) return;
  throw new InturnError(
    "backlog_full",
    `${pendingMax} events wait to be handled, which is the most; nothing was stored. Try again later.`,
  );
}

/** Rare: asked only by who was sent to the wrong cell, or comes while a bucket is being moved. */
async function toCellError(database: Database, refusal: RefusalOfCell): Promise<InturnError> {
  const { code, index, accountId } = refusal;
  const account = JSON.stringify(accountId);
  if (code === "bucket_moving") {
    const message = `Account ${account} is being moved to another cell; nothing was stored. Send the same request again.`;
    return new InturnError(code, message, { data: { index, accountId } });
  }
  const cell = await findCellElsewhere(database, accountId);
  const message = `Account ${account} lies in ${cell === undefined ? "another cell" : `the cell ${cell}`}; nothing was stored.`;
  return new InturnError(code, message, { data: { index, accountId, ...(cell !== undefined && { cell }) } });
}

function toError(refusal: Exclude<Refusal, RefusalOfCell>, limits: PendingLimits): InturnError {
  const { code, ...data } = refusal;
  const account = JSON.stringify(refusal.accountId);
  const messages: Record<typeof code, string> = {
    event_id_reused: `The id belongs to an earlier event of account ${account} with other content; nothing was stored.`,
    seq_unexpected: `The event would not get the seq that it expects: the last seq of account ${account} is ${refusal.currentSeq}; nothing was stored.`,
    account_full: `${limits.accountPendingMax} events of account ${account} may wait, and that many do; nothing was stored. Try again later.`,
  };
  return new InturnError(code, messages[code], { data });
}

function weightOf(events: readonly NewEvent[]): number {
  return events.reduce((weight, event) => weight + 1 + Math.floor(event.data.length / CHARACTERS_PER_WEIGHT), 0);
}
