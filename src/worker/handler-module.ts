import { access } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Handler } from "../engine/handler.ts";
import { InturnError } from "../errors/error.ts";

/**
 * Loads the user's handler: the default export of a module.
 *
 * @param path of the module, from the working directory; `.ts` runs as it is
 * @throws InturnError `handler_not_found` when there is no such file, `handler_invalid` when it cannot be loaded or its
 *   default export is no function
 */
export async function loadHandler(path: string): Promise<Handler> {
  const file = resolve(path);
  await access(file).catch((cause: unknown) => {
    throw new InturnError("handler_not_found", `There is no handler module at ${file}; INTURN_HANDLER names it.`, {
      cause,
    });
  });
  const module = await import(pathToFileURL(file).href).catch((cause: unknown) => {
    throw new InturnError("handler_invalid", `The handler module ${file} cannot be loaded: ${String(cause)}`, {
      cause,
    });
  });
  const handler = (module as { default?: unknown }).default;
  if (typeof handler === "function") return handler as Handler;
  const found = handler === undefined ? "nothing" : typeof handler;
  throw new InturnError(
    "handler_invalid",
    `${file} exports ${found} by default; export default async (event, context) => { … }`,
  );
}
