import { appendEvents } from "../db/append.ts";
import type { Database } from "../db/pool.ts";
import { APPEND_EVENTS_MAX, type Appended, type NewEvent } from "../domain/event.ts";
import { isBadData } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import { GroupCommit } from "./group-commit.ts";

/** Stores events; requests that arrive together share one transaction. */
export interface Appender {
  /**
   * Stores these events, all or none, in their order, after everything that was handed in before them. Resolves after
   * the commit.
   *
   * @throws InturnError `overloaded` when too much waits already; database errors as they come
   */
  append(events: readonly NewEvent[]): Promise<readonly Appended[]>;
}

/** Events that may wait in memory; some seconds of work for the database. */
const WAITING_EVENTS_MAX = 50_000;

/** Creates an appender over a pool. */
export function createAppender(database: Database): Appender {
  const group = new GroupCommit<readonly NewEvent[], readonly Appended[]>({
    weightMax: APPEND_EVENTS_MAX,
    weigh: (events) => events.length,
    isItemsFault: isBadData,
    commit: async (requests) => {
      const appended = await appendEvents(database, requests.flat());
      let start = 0;
      return requests.map((events) => appended.slice(start, (start += events.length)));
    },
  });
  return {
    async append(events) {
      if (group.waitingWeight + events.length > WAITING_EVENTS_MAX) {
        throw new InturnError(
          "overloaded",
          `${group.waitingWeight} events are waiting to be stored; try again shortly`,
        );
      }
      return await group.submit(events);
    },
  };
}
