import { appendEvents } from "../db/append.ts";
import { findLockedAccounts } from "../db/locked.ts";
import type { Database } from "../db/pool.ts";
import { APPEND_EVENTS_MAX, type Appended, type NewEvent } from "../domain/event.ts";
import { isBadData, isLocked } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import { GroupCommit } from "./group-commit.ts";

/** Stores events; requests that arrive together share one transaction. */
export interface Appender {
  /**
   * Stores these events, all or none, in their order, after everything that was handed in before them. Resolves after
   * the commit.
   *
   * @throws InturnError `overloaded` when too much waits already; database errors as they come, among them the lock
   *   time-out of a request whose account another transaction held for too long
   */
  append(events: readonly NewEvent[]): Promise<readonly Appended[]>;
}

/** What may wait in memory, in events of common size; some seconds of work for the database. */
const WAITING_WEIGHT_MAX = 50_000;

/** Characters of data that weigh as much as one event: a batch carries 8 MB of it at most, beyond its first request. */
const CHARACTERS_PER_WEIGHT = 4_096;

/** A request whose account somebody else holds is refused after this long; the others do not wait for it. */
const LOCKED_MS_MAX = 5_000;

/** Requests that wait for locked accounts; they must not take the memory of the others. */
const LOCKED_REQUESTS_MAX = 5_000;

/** Creates an appender over a pool. */
export function createAppender(database: Database): Appender {
  const group = new GroupCommit<readonly NewEvent[], readonly Appended[]>({
    weightMax: APPEND_EVENTS_MAX,
    weigh: weightOf,
    isItemsFault: isBadData,
    detour: {
      isLocked,
      accountsOf: (events) => events.map((event) => event.accountId),
      findLocked: (accountIds) => findLockedAccounts(database, accountIds),
      waitMsMax: LOCKED_MS_MAX,
      itemsMax: LOCKED_REQUESTS_MAX,
    },
    commit: async (requests) => {
      const appended = await appendEvents(database, requests.flat());
      let start = 0;
      return requests.map((events) => appended.slice(start, (start += events.length)));
    },
  });
  return {
    async append(events) {
      if (group.waitingWeight + weightOf(events) > WAITING_WEIGHT_MAX) {
        throw new InturnError("overloaded", "too many events are waiting to be stored; try again shortly");
      }
      return await group.submit(events);
    },
  };
}

function weightOf(events: readonly NewEvent[]): number {
  return events.reduce((weight, event) => weight + 1 + Math.floor(event.data.length / CHARACTERS_PER_WEIGHT), 0);
}
