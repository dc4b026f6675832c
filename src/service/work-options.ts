import type { Settings } from "../config/settings.ts";
import type { Log } from "../log/log.ts";

/** What a worker is composed of. */
export interface WorkOptions {
  readonly settings: Settings;
  readonly databaseUrl: string;
  readonly log: Log;
}
