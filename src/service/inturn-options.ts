import type { Pool } from "pg";
import { checkSettings, type SettingOverrides, type Settings } from "../config/settings.ts";
import type { DatabaseAddress } from "../db/session-settings.ts";
import type { BatchHandler, Handler } from "../engine/handler.ts";
import { InturnError } from "../errors/error.ts";
import { createLog, type Log } from "../log/log.ts";
import { checkHandler, type EventTypes, type TargetRules } from "../worker/handler-module.ts";
import type { NamedHandler } from "./compose-handler.ts";
import { requireHandlerOf } from "./compose-handler.ts";

/** Settings of what a program does itself: it listens, runs its database and names its handler. */
const NOT_TAKEN = ["dataFolder", "cells", "cell", "host", "port", "apiProcesses", "metricsPort", "handlerMs"] as const;

/** The settings that a program may give, by the names of docs/settings.md's variables without `INTURN_`, with their defaults. */
type InturnSettings = Partial<Omit<Settings, "databaseUrl" | "handler" | (typeof NOT_TAKEN)[number]>>;

/** What {@link createInturn} takes. */
export interface InturnOptions extends InturnSettings {
  /** The PostgreSQL to use (15 to 18). */
  readonly databaseUrl?: string;
  /**
   * Instead of `databaseUrl`: a pool of yours. Its address, user, password and TLS are used for connections of our own, whose sessions
   * have settings of ours; none of yours is ever taken.
   */
  readonly pool?: Pick<Pool, "options">;
  /** Called for one event of an account at a time. Only a worker needs it. */
  readonly handler?: Handler;
  /** Instead of `handler`: called for the next events of one account together, `eventsMax` at most (1,000 or less). */
  readonly batch?: { readonly handler: BatchHandler; readonly eventsMax: number; readonly bytesMax?: number };
  /** By event type, what differs from the settings. */
  readonly eventTypes?: EventTypes;
  /** By target, when it is found to be away. */
  readonly targets?: TargetRules;
  /** A log of pino. Without one, warnings and errors go to standard error as JSON; `logLevel` says what else. */
  readonly log?: Log;
  /**
   * Whether `app` asks for API keys. `false` lets everybody do everything who reaches it: only behind a check of your own. True
   * unless told.
   */
  readonly requireKeys?: boolean;
  /** Whether a worker kills the process when a handler has blocked its event loop for longer than two leases. False unless told. */
  readonly killWhenStuck?: boolean;
}

/** The options, checked. */
export interface CheckedOptions {
  readonly settings: Settings;
  readonly databaseUrl: DatabaseAddress;
  readonly poolerUrl: DatabaseAddress | undefined;
  readonly log: Log;
  readonly handler: NamedHandler | undefined;
  readonly requireKeys: boolean;
  readonly ownsProcess: boolean;
}

/** @throws InturnError `settings_invalid`, `handler_invalid` */
export function checkInturnOptions(options: InturnOptions): CheckedOptions {
  const {
    pool,
    handler,
    batch,
    eventTypes,
    targets,
    log,
    requireKeys = true,
    killWhenStuck = false,
    ...given
  } = options;
  refuseNotTaken(given);
  const { logLevel = "warn", databaseUrl, ...rest } = given;
  const settings = checkSettings(spell({ ...rest, logLevel, databaseUrl }));
  return {
    settings,
    ...routeFrom(settings, pool),
    log: log ?? createLog({ level: logLevel, name: "inturn" }),
    handler: nameHandler(settings, { handler, batch, eventTypes, targets }),
    requireKeys,
    ownsProcess: killWhenStuck,
  };
}

function refuseNotTaken(given: object): void {
  const faults = NOT_TAKEN.filter((name) => name in given).map((where) => ({
    where,
    message: "createInturn has no such option: it does not listen, and runs no database of its own",
  }));
  if (faults.length === 0) return;
  const list = faults.map(({ where, message }) => `${where}: ${message}`).join("; ");
  throw new InturnError("settings_invalid", list, { faults });
}

/** Lists as the environment spells them. */
function spell(given: Readonly<Record<string, unknown>>): SettingOverrides {
  const spelled = Object.entries(given).map(([name, value]) => [name, Array.isArray(value) ? value.join(",") : value]);
  return Object.fromEntries(spelled) as SettingOverrides;
}

function routeFrom(
  { databaseUrl, directDatabaseUrl }: Settings,
  pool: InturnOptions["pool"],
): Pick<CheckedOptions, "databaseUrl" | "poolerUrl"> {
  const address = databaseUrl ?? pool?.options;
  if (address !== undefined && (databaseUrl === undefined || pool === undefined)) {
    if (directDatabaseUrl === undefined) return { databaseUrl: address, poolerUrl: undefined };
    return { databaseUrl: directDatabaseUrl, poolerUrl: address };
  }
  throw new InturnError("settings_invalid", "createInturn needs a databaseUrl or a pool, and only one of them.");
}

/** Types may have a URL each, and then no handler is called for them. */
function nameHandler(
  settings: Settings,
  given: {
    handler: InturnOptions["handler"] | undefined;
    batch: InturnOptions["batch"] | undefined;
    eventTypes: unknown;
    targets: unknown;
  },
): NamedHandler | undefined {
  const { eventTypes, targets } = given;
  if (given.handler !== undefined && given.batch !== undefined)
    throw new InturnError("settings_invalid", "Give createInturn a handler or a batch, not both.");
  const { handler, ...limits } = given.batch ?? { handler: given.handler };
  if (handler === undefined && settings.pushUrl === undefined) return undefined;
  if (handler !== undefined && typeof handler !== "function") {
    throw new InturnError("handler_invalid", `The handler is a function; this is ${typeof handler}.`);
  }
  const name = requireHandlerOf({ ...settings, handler: handler === undefined ? undefined : "a function" });
  const module = checkHandler("createInturn", {
    handler: (handler ?? (() => undefined)) as Handler & BatchHandler,
    batch: given.batch === undefined ? undefined : limits,
    eventTypes,
    targets,
  });
  return { name, module };
}
