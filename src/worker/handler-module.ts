import { access } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import * as z from "zod";
import { FAILURE_POLICIES, RETRY_RULE_LIMITS, type RetryRule } from "../domain/failure.ts";
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

const wholeNumber = ([least, most]: readonly [number, number]) => z.int().min(least).max(most).optional();

const eventTypesSchema = z.record(
  z.string().min(1),
  z.strictObject({
    attemptsMax: wholeNumber(RETRY_RULE_LIMITS.attemptsMax),
    backoffMs: wholeNumber(RETRY_RULE_LIMITS.backoffMs),
    backoffMsMax: wholeNumber(RETRY_RULE_LIMITS.backoffMsMax),
    handlerTimeoutMs: wholeNumber(RETRY_RULE_LIMITS.handlerTimeoutMs),
    failurePolicy: z.enum(FAILURE_POLICIES).optional(),
    parkMs: wholeNumber(RETRY_RULE_LIMITS.parkMs),
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
