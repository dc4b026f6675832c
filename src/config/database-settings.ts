/**
 * The settings of the database and of the connections to it.
 */
import * as z from "zod";
import { InturnError } from "../errors/error.ts";
import { databaseUrlOf } from "./cell-settings.ts";
import { wholeNumber } from "./whole-number.ts";

/** `pg` takes a list of hosts for one name, or for no address at all. */
function hasSeveralHosts(url: string): boolean {
  const [address = "", query = ""] = url.slice(url.indexOf("://") + 3).split("?", 2);
  const [hosts = ""] = address.slice(address.lastIndexOf("@") + 1).split("/", 1);
  return hosts.includes(",") || new URLSearchParams(query).get("host")?.includes(",") === true;
}

const address = z
  .string()
  .regex(/^postgres(ql)?:\/\//, "must start with postgres:// or postgresql://")
  .refine(
    (url) => !hasSeveralHosts(url),
    "names several hosts; name one that leads to the primary: HAProxy in front of Patroni, or the endpoint of a managed service",
  )
  .optional();

/** Part of the table of settings (see settings.ts). */
export const DATABASE_SETTINGS = {
  databaseUrl: {
    variable: "DATABASE_URL",
    schema: address,
    description: "the PostgreSQL to use (15 to 18); without it a server of our own runs in the data folder",
  },
  directDatabaseUrl: {
    variable: "INTURN_DIRECT_DATABASE_URL",
    schema: address,
    description:
      "PostgreSQL itself, where `DATABASE_URL` leads to a pooler: for what needs sessions of its own; the rest goes through the pooler",
  },
  workerConnectionsMax: {
    variable: "INTURN_WORKER_CONNECTIONS_MAX",
    schema: wholeNumber(17, 1_000).default(36),
    description:
      "how many connections one worker process opens at most: 16 for its own work, the others for `context.transaction`",
  },
  dataFolder: {
    variable: "INTURN_DATA",
    schema: z.string().min(1).default(".inturn"),
    description: "the folder of our own server",
  },
} as const;

/** How the database of the settings is reached. */
export interface DatabaseRoute {
  /** PostgreSQL itself; undefined for a server of our own. */
  readonly databaseUrl: string | undefined;
  /** A pooler in front of it; undefined without one. */
  readonly poolerUrl: string | undefined;
}

/**
 * @throws InturnError `settings_invalid` when there is only the address beside a pooler's, or when there are several cells and none
 *   is named
 */
export function routeOf(settings: {
  readonly cells: string | undefined;
  readonly cell: string | undefined;
  readonly databaseUrl: string | undefined;
  readonly directDatabaseUrl: string | undefined;
}): DatabaseRoute {
  const databaseUrl = databaseUrlOf(settings);
  const { directDatabaseUrl } = settings;
  if (directDatabaseUrl === undefined) return { databaseUrl, poolerUrl: undefined };
  if (databaseUrl !== undefined) return { databaseUrl: directDatabaseUrl, poolerUrl: databaseUrl };
  throw new InturnError(
    "settings_invalid",
    "INTURN_DIRECT_DATABASE_URL stands beside a DATABASE_URL that leads to a pooler. Without a pooler, set DATABASE_URL only.",
  );
}
