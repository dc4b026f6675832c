import { access } from "node:fs/promises";
import { registerHooks } from "node:module";
import { extname, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import * as z from "zod";
import { pushUrlSchema } from "../config/push-settings.ts";
import { FAILURE_POLICIES, RETRY_RULE_LIMITS, type RetryRule } from "../domain/failure.ts";
import { TARGET_NAME_MAX, TARGET_RULE_LIMITS, type TargetRule } from "../domain/target.ts";
import type { BatchHandler, Handler } from "../engine/handler.ts";
import type { BatchOptions } from "../engine/handler-batch.ts";
import { BATCH_BYTES_MAX } from "../engine/read-ahead.ts";
import { InturnError } from "../errors/error.ts";

/** What a handler module gives. */
export interface HandlerModule {
  /** For one event; where `batch` is set, for what goes alone. */
  readonly handler: Handler;
  /** Where the handler wants several events together. */
  readonly batch?: BatchOptions;
  /** Where events of a type are retried in another way than the settings say. */
  readonly eventTypes: EventTypes;
  /** Where a target is found to be away in another way than {@link TARGET_RULE} says. */
  readonly targets: TargetRules;
}

/**
 * By event type, what differs from the settings: a handler module may export it as `eventTypes`. A type that ends with `*` is the
 * beginning of types; the longest one that fits counts, alone.
 */
export type EventTypes = Readonly<Record<string, Partial<RetryRule>>>;

/** By target, what differs from {@link TARGET_RULE}: a handler module may export it as `targets`. */
export type TargetRules = Readonly<Record<string, Partial<TargetRule>>>;

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
    snoozeMsMax: wholeNumber(RETRY_RULE_LIMITS.snoozeMsMax),
    unsettledMax: wholeNumber(RETRY_RULE_LIMITS.unsettledMax),
    target: z.string().min(1).max(TARGET_NAME_MAX).optional(),
    push: pushUrlSchema.optional(),
  }),
);

/** Events that a handler may want together: what a settle writes at once for one account. */
const TOGETHER_MAX = 1_000;

const batchSchema = z.strictObject({
  eventsMax: z.int().min(1).max(TOGETHER_MAX),
  bytesMax: z.int().min(1).max(BATCH_BYTES_MAX).default(BATCH_BYTES_MAX),
});

const targetsSchema = z.record(
  z.string().min(1).max(TARGET_NAME_MAX),
  z.strictObject({
    attemptsMin: wholeNumber(TARGET_RULE_LIMITS.attemptsMin),
    accountsMin: wholeNumber(TARGET_RULE_LIMITS.accountsMin),
    failedShare: z.number().min(0.01).max(1).optional(),
  }),
);

/** The name of the built-in handler. A file with that name is `./sleep`. */
export const SLEEP = "sleep";

/**
 * The handler that the settings name. There is none by default: a worker that has forgotten its handler would settle events
 * that nobody has handled.
 *
 * @throws InturnError `handler_missing`
 */
export function requireHandler(handler: string | undefined): string {
  if (handler !== undefined) return handler;
  throw new InturnError(
    "handler_missing",
    "No handler is named. Give the path of its module with --handler or INTURN_HANDLER, or `sleep` for the built-in one that only sleeps.",
  );
}

/** A module that takes longer to load hangs. */
const LOAD_MS_MAX = 30_000;

/**
 * Loads the user's handler: the default export of a module, and its `batch`, `eventTypes` and `targets` if it has some.
 *
 * @param path of the module, from the working directory; `.ts` runs as it is
 * @param options.signal ends the wait for a module that hangs, with an AbortError
 * @param options.loadMsMax how long it may take; 30 s unless told
 * @throws InturnError `handler_not_found` when there is no such file, `handler_invalid` when it cannot be loaded, its
 *   default export is no function, or its `batch`, `eventTypes` or `targets` are not as they should be
 */
export async function loadHandler(
  path: string,
  options: { signal?: AbortSignal | undefined; loadMsMax?: number } = {},
): Promise<HandlerModule> {
  const file = resolve(path);
  await access(file).catch((cause: unknown) => {
    throw new InturnError("handler_not_found", `There is no handler module at ${file}; INTURN_HANDLER names it.`, {
      cause,
    });
  });
  offerOurselves();
  const module = await Promise.race([importModule(file), hanging(file, options)]);
  const { default: handler, batch, eventTypes, targets } = module as Record<string, unknown>;
  if (typeof handler !== "function") {
    const found = handler === undefined ? "nothing" : typeof handler;
    throw new InturnError(
      "handler_invalid",
      `${file} exports ${found} by default; export default async (event, context) => { … }`,
    );
  }
  return checkHandler(file, { handler: handler as Handler & BatchHandler, batch, eventTypes, targets });
}

/**
 * Checks what comes with a handler.
 *
 * @param where what has it, for who reads the error
 * @throws InturnError `handler_invalid`
 */
export function checkHandler(
  where: string,
  given: { handler: Handler & BatchHandler; batch: unknown; eventTypes: unknown; targets: unknown },
): HandlerModule {
  const { handler, batch, eventTypes = {}, targets = {} } = given;
  return {
    ...(batch === undefined ? { handler } : forBatches(handler, checkExport(where, "batch", batchSchema, batch))),
    eventTypes: checkExport(where, "eventTypes", eventTypesSchema, eventTypes) as EventTypes,
    targets: checkExport(where, "targets", targetsSchema, targets) as TargetRules,
  };
}

function forBatches(handler: BatchHandler, limits: unknown): Pick<HandlerModule, "handler" | "batch"> {
  const batch = { ...(limits as z.output<typeof batchSchema>), handler };
  return { handler: (event, context) => handler([event], context), batch };
}

async function importModule(file: string): Promise<unknown> {
  try {
    return await import(pathToFileURL(file).href);
  } catch (cause) {
    const isCommonJs =
      cause instanceof SyntaxError && /^(?:Unexpected token 'export'|Cannot use import)/.test(cause.message);
    const hint = isCommonJs
      ? '. Node takes it for CommonJS: name it .mjs (.mts), or put "type": "module" into its package.json'
      : "";
    throw new InturnError("handler_invalid", `The handler module ${file} cannot be loaded: ${String(cause)}${hint}`, {
      cause,
    });
  }
}

/** Rejects when the module has had its time, or nobody wants it any more. */
async function hanging(
  file: string,
  { signal, loadMsMax = LOAD_MS_MAX }: { signal?: AbortSignal | undefined; loadMsMax?: number },
): Promise<never> {
  await sleep(loadMsMax, undefined, { ref: false, ...(signal !== undefined && { signal }) });
  throw new InturnError(
    "handler_invalid",
    `The handler module ${file} has not loaded within ${loadMsMax / 1_000} s: something that it awaits at its top level hangs.`,
  );
}

/**
 * `import … from "inturn"` in a handler means the program that runs it, wherever the handler lies: in a clone that was not built as
 * well as beside an installed package.
 */
function offerOurselves(): void {
  const extension = extname(import.meta.filename);
  const own = new Map([
    ["inturn", new URL(`../index${extension}`, import.meta.url).href],
    ["inturn/client", new URL(`../client/index${extension}`, import.meta.url).href],
  ]);
  registerHooks({
    resolve(specifier, context, next) {
      const url = own.get(specifier);
      return url === undefined ? next(specifier, context) : { url, shortCircuit: true };
    },
  });
}

function checkExport(file: string, name: string, schema: z.ZodType, value: unknown): unknown {
  const checked = schema.safeParse(value);
  if (checked.success) return checked.data;
  const faults = checked.error.issues.map((issue) => ({ where: issue.path.join("."), message: issue.message }));
  const list = faults.map((fault) => `  ${name}.${fault.where}: ${fault.message}`).join("\n");
  throw new InturnError("handler_invalid", `The ${name} of ${file} cannot be used:\n${list}`, { faults });
}
