import { access } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import * as z from "zod";
import { FAILURE_POLICIES, type RetryRule } from "../domain/failure.ts";
import type { Handler } from "../engine/handler.ts";
import { InturnError } from "../errors/error.ts";

/** What a handler module gives. */
export interface HandlerModule {
  readonly handler: Handler;
  /** Where events of a type are retried in another way than the settings say. */
  readonly eventTypes: EventTypes;
}

/** By event type, what differs from the settings: a handler module may export it as `eventTypes`. */
export type EventTypes = Readonly<Record<string, Partial<RetryRule>>>;

const wholeNumber = (least: number, most: number) => z.int().min(least).max(most).optional();

/** The limits are those of the settings of the same names. */
const eventTypesSchema = z.record(
  z.string().min(1),
  z.strictObject({
    attemptsMax: wholeNumber(1, 1_000_000),
    backoffMs: wholeNumber(1, 86_400_000),
    backoffMsMax: wholeNumber(1, 86_400_000),
    handlerTimeoutMs: wholeNumber(1, 86_400_000),
    failurePolicy: z.enum(FAILURE_POLICIES).optional(),
    parkMs: wholeNumber(1, 2_592_000_000),
  }),
);

/**
 * Loads the user's handler: the default export of a module, and its `eventTypes` if it has some.
 *
 * @param path of the module, from the working directory; `.ts` runs as it is
 * @throws InturnError `handler_not_found` when there is no such file, `handler_invalid` when it cannot be loaded, its
 *   default export is no function, or its `eventTypes` are not as they should be
 */
export async function loadHandler(path: string): Promise<HandlerModule> {
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
  const { default: handler, eventTypes = {} } = module as { default?: unknown; eventTypes?: unknown };
  if (typeof handler !== "function") {
    const found = handler === undefined ? "nothing" : typeof handler;
    throw new InturnError(
      "handler_invalid",
      `${file} exports ${found} by default; export default async (event, context) => { … }`,
    );
  }
  return { handler: handler as Handler, eventTypes: checkEventTypes(file, eventTypes) };
}

function checkEventTypes(file: string, eventTypes: unknown): EventTypes {
  const checked = eventTypesSchema.safeParse(eventTypes);
  if (checked.success) return checked.data as EventTypes;
  const faults = checked.error.issues.map((issue) => ({ where: issue.path.join("."), message: issue.message }));
  const list = faults.map((fault) => `  eventTypes.${fault.where}: ${fault.message}`).join("\n");
  throw new InturnError("handler_invalid", `The eventTypes of ${file} cannot be used:\n${list}`, { faults });
}
