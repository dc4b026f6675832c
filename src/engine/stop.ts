import { setMaxListeners } from "node:events";

/** Creates a signal that every turn of a worker may listen to: a thousand listeners are no leak. */
export function createStop(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}
