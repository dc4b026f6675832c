/**
 * The handler of a worker: the user's module, the built-in one, or what pushes events to a URL.
 */
import type { Settings } from "../config/settings.ts";
import { createRules, type RetryRule } from "../domain/failure.ts";
import { targetOfUrl } from "../domain/push.ts";
import { DEFAULT_TARGET } from "../domain/target.ts";
import type { Handler } from "../engine/handler.ts";
import type { BatchOptions } from "../engine/handler-batch.ts";
import { InturnError } from "../errors/error.ts";
import {
  type EventTypes,
  type HandlerModule,
  loadHandler,
  requireHandler,
  SLEEP,
  type TargetRules,
} from "../worker/handler-module.ts";
import { createSleepHandler } from "../worker/sleep.ts";

/** The handler, with what its module says of types and targets. */
export interface ComposedHandler {
  readonly handler: Handler;
  readonly batch: BatchOptions | undefined;
  readonly handlerName: string;
  readonly ruleOf: (type: string | null) => RetryRule;
  readonly targets: TargetRules;
}

/**
 * The name of the handler, or of the host that events are pushed to.
 *
 * @throws InturnError `handler_missing`, or `settings_invalid` when there are two
 */
export function requireHandlerOf({ handler, pushUrl }: Settings): string {
  if (pushUrl === undefined) return requireHandler(handler);
  if (handler === undefined) return `push to ${targetOfUrl(pushUrl)}`;
  throw new InturnError("settings_invalid", "Name a handler module or a URL to push to, not both.");
}

/** A handler, and what it is called. */
export interface NamedHandler {
  readonly name: string;
  readonly module: HandlerModule;
}

/**
 * Puts the handler together with the settings.
 *
 * @throws InturnError `settings_invalid` when pushed events could not be signed
 */
export async function composeHandler(
  settings: Settings,
  { name: handlerName, module }: NamedHandler,
): Promise<ComposedHandler> {
  const { batch, eventTypes, targets } = module;
  const ruleOf = createRules(ruleOfDeployment(settings), withPushTargets(eventTypes));
  const handler = await withPush(module.handler, { settings, ruleOf, eventTypes });
  return { handler, batch, handlerName, ruleOf, targets };
}

/**
 * Loads the handler that the settings name. A URL stands for a handler that pushes everything.
 *
 * @throws InturnError what `loadHandler` and {@link requireHandlerOf} throw
 */
export async function loadNamedHandler(settings: Settings, signal: AbortSignal | undefined): Promise<NamedHandler> {
  const { pushUrl, handlerMs } = settings;
  const name = requireHandlerOf(settings);
  if (pushUrl !== undefined) {
    return { name, module: { handler: () => undefined, eventTypes: {}, targets: {} } };
  }
  if (name !== SLEEP) return { name, module: await loadHandler(name, { signal }) };
  return { name, module: { handler: createSleepHandler(handlerMs), eventTypes: {}, targets: {} } };
}

/** The host that events are pushed to is their target, unless the module names another one. */
function withPushTargets(eventTypes: EventTypes): EventTypes {
  return Object.fromEntries(
    Object.entries(eventTypes).map(([type, rule]) => [
      type,
      rule.push === undefined ? rule : { target: targetOfUrl(rule.push), ...rule },
    ]),
  );
}

/** The handler, and pushing instead of it for the types that have a URL. */
async function withPush(
  handler: Handler,
  options: { settings: Settings; ruleOf: (type: string | null) => RetryRule; eventTypes: EventTypes },
): Promise<Handler> {
  const { settings, ruleOf, eventTypes } = options;
  const {
    pushUrl,
    pushSecrets: secrets,
    pushFormat: format,
    pushConcurrency: requestsMax,
    pushNetworks: networks = [],
  } = settings;
  if (pushUrl === undefined && Object.values(eventTypes).every(({ push }) => push === undefined)) return handler;
  if (secrets === undefined) {
    throw new InturnError(
      "settings_invalid",
      'Pushed events are signed: set INTURN_PUSH_SECRETS, made by: echo "whsec_$(openssl rand -base64 32)"',
    );
  }
  // A worker that pushes nothing does without the HTTP client.
  const { createPushHandler } = await import("../push/push-handler.ts");
  const push = createPushHandler({ secrets, format, requestsMax, networks, ruleOf });
  return (event, context) => (ruleOf(event.type).push === undefined ? handler : push)(event, context);
}

function ruleOfDeployment(settings: Settings): RetryRule {
  const {
    attemptsMax,
    backoffMs,
    backoffMsMax,
    handlerTimeoutMs,
    failurePolicy,
    parkMs,
    snoozeMsMax,
    unsettledMax,
    pushUrl: push,
  } = settings;
  const limits = {
    attemptsMax,
    backoffMs,
    backoffMsMax,
    handlerTimeoutMs,
    failurePolicy,
    parkMs,
    snoozeMsMax,
    unsettledMax,
  };
  if (push === undefined) return { ...limits, target: DEFAULT_TARGET };
  return { ...limits, target: targetOfUrl(push), push };
}
