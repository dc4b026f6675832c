import { setTimeout as sleep } from "node:timers/promises";
import type { Handler } from "../engine/handler.ts";

/** Creates the built-in handler: it sleeps this long for every event, which is what the demo and a first look need. */
export function createSleepHandler(handlerMs: number): Handler {
  if (handlerMs === 0) return () => undefined;
  return (_event, context) => sleep(handlerMs, undefined, { signal: context.signal });
}
