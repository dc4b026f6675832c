/**
 * The parts as processes of their own: one API and some workers. A child that hears nothing from its parent any more
 * stops by itself; a child that ends without being told to ends the fleet.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { extname, join } from "node:path";
import { type Settings, toEnvironment } from "../config/settings.ts";
import { InturnError } from "../errors/error.ts";

/** A running fleet. */
export interface Fleet {
  /** Where the API listens. */
  readonly url: string;
  /** Rejects when a part ends without having been told to. */
  readonly failed: Promise<never>;
  /** Tells every part to stop and waits for it. */
  stop(): Promise<void>;
}

/** What a part tells its parent once it works. */
export interface ReadyMessage {
  readonly ready: true;
  readonly url?: string;
}

/** A part that does not stop by itself is killed this long after its own deadline. */
const KILL_MS = 5_000;

const MAIN = join(import.meta.dirname, "..", "cli", `main${extname(import.meta.filename)}`);

/** Starts the API and this many workers; resolves when all of them work. */
export async function startFleet(options: {
  settings: Settings;
  databaseUrl: string;
  workers: number;
}): Promise<Fleet> {
  const { settings, databaseUrl } = options;
  const environment = toEnvironment({ ...settings, databaseUrl }, process.env);
  const api = startPart("serve", environment);
  const parts = [api, ...Array.from({ length: options.workers }, () => startPart("work", environment))];
  const { promise: failed, reject: fail } = Promise.withResolvers<never>();
  failed.catch(() => undefined);
  let stopping = false;
  for (const part of parts) {
    void part.ended.then((how) => {
      if (!stopping)
        fail(
          new InturnError(
            "process_failed",
            `The ${part.name} process ended by itself with ${how}; its log above says why.`,
          ),
        );
    });
  }
  const stop = async () => {
    stopping = true;
    await Promise.all(parts.map((part) => stopPart(part, settings.shutdownMs + KILL_MS)));
  };
  try {
    const [{ url }] = (await Promise.race([failed, Promise.all(parts.map((part) => part.ready))])) as [ReadyMessage];
    if (url === undefined) throw new InturnError("process_failed", "The API did not say where it listens.");
    return { url, failed, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Part {
  readonly name: string;
  readonly child: ChildProcess;
  readonly ready: Promise<ReadyMessage>;
  /** How it ended: its exit code or signal. */
  readonly ended: Promise<string>;
}

/** Detached: a Ctrl-C in the terminal is for the parent, who then stops its parts in order. */
function startPart(name: "serve" | "work", environment: NodeJS.ProcessEnv): Part {
  const child = spawn(process.execPath, [MAIN, name], {
    env: environment,
    detached: true,
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  return {
    name,
    child,
    ready: new Promise((resolve) => child.once("message", (message) => resolve(message as ReadyMessage))),
    ended: new Promise((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("exit", (code, signal) => resolve(signal ?? `code ${code}`));
    }),
  };
}

async function stopPart(part: Part, killAfterMs: number): Promise<void> {
  part.child.kill("SIGTERM");
  const timer = setTimeout(() => part.child.kill("SIGKILL"), killAfterMs);
  await part.ended;
  clearTimeout(timer);
}
