/**
 * The settings, read once from the environment: the only reader of it. A command's flags win over the environment.
 */
import { closest } from "fastest-levenshtein";
import * as z from "zod";
import { LEASE_TIMES } from "../domain/lease-times.ts";
import { type Fault, InturnError } from "../errors/error.ts";
import { CELL_SETTINGS } from "./cell-settings.ts";
import { DATABASE_SETTINGS } from "./database-settings.ts";
import { PUSH_SETTINGS } from "./push-settings.ts";
import { RETRY_SETTINGS } from "./retry-settings.ts";
import { wholeNumber } from "./whole-number.ts";

/**
 * Name, meaning and limits of every setting. Units stand last in the name.
 *
 * The value is how the environment spells it; the description is what `--help` and docs/settings.md say.
 */
const SETTINGS = {
  ...DATABASE_SETTINGS,
  ...CELL_SETTINGS,
  host: {
    variable: "HOST",
    schema: z.string().min(1).default("127.0.0.1"),
    description: "the address the HTTP API listens on",
  },
  port: { variable: "PORT", schema: wholeNumber(0, 65_535).default(8000), description: "its port; 0 takes a free one" },
  apiProcesses: {
    variable: "INTURN_API_PROCESSES",
    schema: wholeNumber(1, 64).default(1),
    description: "how many processes share that port; one keeps a core busy",
  },
  metricsPort: {
    variable: "INTURN_METRICS_PORT",
    schema: wholeNumber(0, 65_535).optional(),
    description:
      "the port on which a worker serves `/metrics`, 0 for a free one; `start` adds 1 for each further worker",
  },
  basePath: {
    variable: "INTURN_BASE_PATH",
    schema: z
      .string()
      .regex(/^(\/[\w.~-]+)*$/, "must be a path like /inturn, without a slash at its end")
      .default(""),
    description: "what a proxy in front puts before every path, like `/inturn`; it may leave it there or take it away",
  },
  apiKeys: {
    variable: "INTURN_API_KEYS",
    schema: z
      .string()
      .transform((keys) => keys.split(",").map((key) => key.trim()))
      .refine((keys) => keys.every((key) => key.length >= 32), "each key needs 32 characters or more")
      .optional(),
    description: "keys that may do everything, separated by commas, 32 characters or more each; see `keys` for others",
  },
  handler: {
    variable: "INTURN_HANDLER",
    schema: z.string().min(1).optional(),
    description: "the path of the handler module; `sleep` is a built-in handler that only sleeps",
  },
  ...PUSH_SETTINGS,
  handlerMs: {
    variable: "INTURN_HANDLER_MS",
    schema: wholeNumber(0, 3_600_000).default(1_000),
    description: "how long the built-in handler sleeps, in ms",
  },
  concurrency: {
    variable: "INTURN_CONCURRENCY",
    schema: wholeNumber(1, 10_000).default(1_000),
    description: "how many accounts one worker process has in hand at once",
  },
  readAheadBytesMax: {
    variable: "INTURN_READ_AHEAD_BYTES_MAX",
    schema: wholeNumber(1_048_576, 17_179_869_184).default(67_108_864),
    description: "how many bytes of events a worker process reads ahead; one larger than half of it is in hand alone",
  },
  leaseMs: {
    variable: "INTURN_LEASE_MS",
    schema: wholeNumber(LEASE_TIMES.leaseMsMin, 600_000).default(10_000),
    description: "after this many ms without a sign of life a worker's accounts go to others",
  },
  ...RETRY_SETTINGS,
  shutdownMs: {
    variable: "INTURN_SHUTDOWN_MS",
    schema: wholeNumber(0, 600_000).default(8_000),
    description: "how long a worker told to stop waits for the events it is handling, in ms",
  },
  bodyBytesMax: {
    variable: "INTURN_BODY_BYTES_MAX",
    schema: wholeNumber(1_024, 67_108_864).default(8_388_608),
    description: "how many bytes a request body may have, and a line of NDJSON",
  },
  keepAliveMs: {
    variable: "INTURN_KEEP_ALIVE_MS",
    schema: wholeNumber(1_000, 3_600_000).default(75_000),
    description: "how long an HTTP connection may be idle, in ms: longer than the balancer in front keeps it",
  },
  accountPendingMax: {
    variable: "INTURN_ACCOUNT_PENDING_MAX",
    schema: wholeNumber(1, 1_000_000_000).default(100_000),
    description: "how many events of one account may wait; more are refused (429)",
  },
  pendingMax: {
    variable: "INTURN_PENDING_MAX",
    schema: wholeNumber(1, 1_000_000_000_000).default(10_000_000),
    description: "how many events may wait in total, looked up about once a second; more are refused (503)",
  },
  keepDays: {
    variable: "INTURN_KEEP_DAYS",
    schema: wholeNumber(0, 36_500).default(0),
    description: "how many days settled events and their ids are kept, dead letters longer; 0 keeps them for ever",
  },
  logLevel: {
    variable: "LOG_LEVEL",
    schema: z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]).default("info"),
    description: "the least level that is logged",
  },
} as const;

type SettingName = keyof typeof SETTINGS;

/** Every setting, checked. */
export type Settings = { readonly [Name in SettingName]: z.output<(typeof SETTINGS)[Name]["schema"]> };

/** Values that win over the environment: what a command's flags said, as text or already as a number. */
export type SettingOverrides = { readonly [Name in SettingName]?: string | number | undefined };

/** What there is to set, for help texts and docs: the variable, what it means, and its default as text. */
export function describeSettings(): { variable: string; description: string; default: string }[] {
  return Object.values(SETTINGS).map(({ variable, description, schema }) => ({
    variable,
    description,
    default: String(schema.parse(undefined) ?? "") || "none",
  }));
}

/**
 * Reads all settings.
 *
 * @throws InturnError `settings_invalid`, which names every faulty value at once
 */
export function readSettings(environment: NodeJS.ProcessEnv, overrides: SettingOverrides = {}): Settings {
  const given = (name: SettingName) => overrides[name] ?? (environment[SETTINGS[name].variable] || undefined);
  return checkAll(given, (name) => SETTINGS[name].variable, [
    ...unknownVariables(environment),
    ...unknownOverrides(overrides),
  ]);
}

/**
 * The settings of a program that runs us inside of it: from nothing but what it gives, under the settings' own names.
 *
 * @throws InturnError `settings_invalid`, which names every faulty value at once
 */
export function checkSettings(given: SettingOverrides): Settings {
  return checkAll(
    (name) => given[name],
    (name) => name,
    unknownOverrides(given),
  );
}

function checkAll(
  valueOf: (name: SettingName) => string | number | undefined,
  whereOf: (name: SettingName) => string,
  unknown: readonly Fault[],
): Settings {
  const faults = [...unknown];
  const settings: Record<string, unknown> = {};
  for (const [name, { schema }] of Object.entries(SETTINGS) as [SettingName, { schema: z.ZodType }][]) {
    const read = schema.safeParse(valueOf(name));
    if (read.success) settings[name] = read.data;
    else faults.push({ where: whereOf(name), message: describeIssues(read.error.issues) });
  }
  if (faults.length > 0) {
    const list = faults.map((fault) => `  ${fault.where}: ${fault.message}`).join("\n");
    throw new InturnError("settings_invalid", `These settings cannot be used:\n${list}`, { faults });
  }
  return settings as Settings;
}

/** Each thing that is wrong, once. */
function describeIssues(issues: readonly { message: string }[]): string {
  return [...new Set(issues.map(({ message }) => message))].join("; ");
}

/** A misspelled variable would be a setting silently not made. */
function unknownVariables(environment: NodeJS.ProcessEnv): Fault[] {
  const ours = Object.keys(environment).filter((variable) => variable.startsWith("INTURN_"));
  const known = Object.values(SETTINGS).map((setting): string => setting.variable);
  return unknownNames(ours, known, " All settings: docs/settings.md");
}

/** From JavaScript a misspelled name would be one silently not used, too. */
function unknownOverrides(overrides: SettingOverrides): Fault[] {
  return unknownNames(Object.keys(overrides), Object.keys(SETTINGS));
}

function unknownNames(names: readonly string[], known: readonly string[], more = ""): Fault[] {
  return names
    .filter((name) => !known.includes(name))
    .map((where) => ({ where, message: `there is no such setting; did you mean ${closest(where, known)}?${more}` }));
}

/** The environment for a child process that is to have these settings: `environment`, with every setting spelled out. */
export function toEnvironment(settings: Settings, environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const spelled = Object.entries(SETTINGS).flatMap(([name, { variable }]) => {
    const value = settings[name as SettingName];
    return value === undefined ? [] : [[variable, String(value)] as const];
  });
  return { ...environment, ...Object.fromEntries(spelled) };
}
