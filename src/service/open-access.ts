/**
 * Access at the start of a server: API keys, and where none is needed.
 */
import type { Settings } from "../config/settings.ts";
import { listApiKeys } from "../db/api-keys.ts";
import type { Database } from "../db/pool.ts";
import type { Access } from "../engine/access.ts";
import { commandLine } from "../errors/command-line.ts";
import { InturnError } from "../errors/error.ts";
import type { OpenTo } from "../http/access.ts";
import type { Log } from "../log/log.ts";

/**
 * Who needs no key at the host of the settings.
 *
 * @throws InturnError `keys_needed` when others can reach the host and there is no key
 */
export async function openToWhom(database: Database, settings: Settings, log: Log): Promise<OpenTo> {
  if (isLoopback(settings.host)) return "this machine";
  await requireKeys(database, settings, log);
  return "nobody";
}

/** Says so when everybody on this machine may come in. */
export async function sayIfOpen(access: Access, openTo: OpenTo, log: Log): Promise<void> {
  try {
    if (openTo !== "this machine") return;
    if ((await access()).isEmpty) log.info("there is no API key: everybody on this machine may do everything");
  } catch (error) {
    log.debug({ err: error }, "nobody knows yet whether there are API keys");
  }
}

/** Addresses that only this machine can reach. */
function isLoopback(host: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|::1)$/i.test(host);
}

/**
 * Where other machines can reach it, every request needs a key; a server without any key is not started. While the
 * database is away nobody knows, and whoever comes has to wait for it.
 */
async function requireKeys(database: Database, settings: Settings, log: Log): Promise<void> {
  if (settings.apiKeys !== undefined) return;
  try {
    if ((await listApiKeys(database)).some((key) => key.revokedAt === null)) return;
  } catch (error) {
    log.warn({ err: error }, "could not look for API keys");
    return;
  }
  throw new InturnError(
    "keys_needed",
    `${settings.host} can be reached by others, so callers need API keys, and there is none. Create one (${commandLine("keys", "create --name me")}), or set INTURN_API_KEYS, or listen on 127.0.0.1.`,
  );
}
