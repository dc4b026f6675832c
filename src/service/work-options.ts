import type { Settings } from "../config/settings.ts";
import type { DatabaseAddress } from "../db/session-settings.ts";
import type { Log } from "../log/log.ts";
import type { NamedHandler } from "./compose-handler.ts";

/** What a worker is composed of. */
export interface WorkOptions {
  readonly settings: Settings;
  /** PostgreSQL itself. */
  readonly databaseUrl: DatabaseAddress;
  /** A pooler in front of it, for what needs no session of its own. */
  readonly poolerUrl?: DatabaseAddress | undefined;
  readonly log: Log;
  /** Instead of the handler that the settings name. */
  readonly handler?: NamedHandler;
  /** Whether a process that is stuck is killed, and whether its own metrics are counted: it is ours. True unless told. */
  readonly ownsProcess?: boolean;
}

/** The port for metrics of one of several workers on a machine: they have ports in a row. 0 stands for any, undefined for none. */
export function metricsPortOf({ metricsPort }: Settings, index: number): number | undefined {
  return metricsPort === undefined || metricsPort === 0 ? metricsPort : metricsPort + index;
}
