/**
 * Several API processes on one port, among which the system spreads the connections. Each is a whole API; what they count is put
 * together where it is asked for.
 */
import { type Settings, toEnvironment } from "../config/settings.ts";
import type { Log } from "../log/log.ts";
import { listen } from "./listen.ts";
import type { Listening } from "./listening.ts";
import { KILL_MS, Part } from "./part.ts";
import { createGreeting, MetricsKeeper } from "./port-share.ts";

/** What the processes are started with. */
interface ApiProcessesOptions {
  readonly settings: Settings;
  /** Where the settings name none; undefined with cells. */
  readonly databaseUrl: string | undefined;
  readonly log: Log;
  /** Hears what a person should know. */
  readonly say: (line: string) => void;
}

/**
 * Starts them; resolves when all of them listen.
 *
 * @throws InturnError `address_unavailable` or `process_failed`
 */
export async function startApiProcesses(options: ApiProcessesOptions): Promise<Listening> {
  const { settings, databaseUrl, say } = options;
  const url = await findAddress(options);
  const own = { databaseUrl: settings.databaseUrl ?? databaseUrl, port: Number(new URL(url).port) };
  const environment = toEnvironment({ ...settings, ...own }, process.env);
  const parts: Part[] = [];
  const greeting = createGreeting();
  const keeper = new MetricsKeeper(parts);
  for (let number = 1; number <= settings.apiProcesses; number += 1) {
    const onMessage = (message: unknown) => keeper.hear(number, message);
    parts.push(
      new Part({ command: "serve", arguments: ["--number", String(number)], environment, greeting, onMessage }),
    );
  }
  const stopping = new AbortController();
  const close = async () => {
    stopping.abort();
    await Promise.all(parts.map((part) => part.stop(KILL_MS)));
  };
  try {
    await Promise.all(parts.map((part) => part.start()));
  } catch (error) {
    await close();
    throw error;
  }
  for (const part of parts) void part.keepAlive(stopping.signal, say);
  return { url, close };
}

/** Where they will listen. Whoever shares a port hears nothing of others that do so too: here it has to be free. */
async function findAddress({ settings: { host, port, keepAliveMs }, log }: ApiProcessesOptions): Promise<string> {
  const fetch = () => new Response(null, { status: 503 });
  const probe = await listen({ fetch, host, port, connectionsMax: 1, keepAliveMs, log });
  await probe.close();
  return probe.url;
}
