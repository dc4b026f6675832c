/**
 * The parts as processes of their own: one API and some workers. A child that hears nothing from its parent any more
 * stops by itself; a child that ends without being told to is started again.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { extname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Settings, toEnvironment } from "../config/settings.ts";
import { InturnError } from "../errors/error.ts";

/** A running fleet. */
export interface Fleet {
  /** Where the API listens. */
  readonly url: string;
  /** How often a part had to be started again. */
  restarts(): number;
  /** Kills the nth worker, as an accident would; it is started again. */
  killWorker(index: number): void;
  /** Tells every part to stop and waits for it; told again, it waits no longer for the events in hand. */
  stop(): Promise<void>;
}

/** What a part tells its parent once it works. */
export interface ReadyMessage {
  readonly ready: true;
  /** Where it listens, if it does. */
  readonly url?: string | undefined;
}

/** What a fleet is made of. */
export interface FleetOptions {
  readonly settings: Settings;
  readonly databaseUrl: string;
  readonly workers: number;
  /** Hears what a person should know. */
  readonly say: (line: string) => void;
}

/** A part that does not stop by itself is killed this long after its own deadline. */
const KILL_MS = 8_000;

/** Between the end of a part and its next start: at first, and at most; a part that lived long starts over. */
const RESTART_MS = { first: 200, most: 10_000 };

/** A part that lived this long has been well. */
const WELL_MS = 10_000;

const MAIN = join(import.meta.dirname, "..", "cli", `main${extname(import.meta.filename)}`);

/**
 * Starts the API and this many workers; resolves when all of them work.
 *
 * @throws InturnError `process_failed` when one of them ends before it has worked
 */
export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const { settings, databaseUrl, workers } = options;
  const environment = toEnvironment({ ...settings, databaseUrl }, process.env);
  const stopping = new AbortController();
  const parts = [
    new Part("serve", environment),
    ...Array.from({ length: workers }, (_, i) => new Part("work", { ...environment, ...metricsPortOf(settings, i) })),
  ];
  const stop = async () => {
    stopping.abort();
    await Promise.all(parts.map((part) => part.stop(settings.shutdownMs + KILL_MS)));
  };
  try {
    const [{ url }] = (await Promise.all(parts.map((part) => part.start()))) as [ReadyMessage];
    if (url === undefined) throw new InturnError("process_failed", "The API did not say where it listens.");
    // Started again, the API has to be where its clients look for it.
    parts[0]?.moveTo({ PORT: new URL(url).port });
    for (const part of parts) void part.keepAlive(stopping.signal, options.say);
    return {
      url,
      restarts: () => parts.reduce((sum, part) => sum + part.restarts, 0),
      killWorker: (index) => parts[1 + index]?.kill(),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Each worker listens on a port of its own. */
function metricsPortOf({ metricsPort }: Settings, index: number): NodeJS.ProcessEnv {
  return metricsPort === undefined || metricsPort === 0 ? {} : { INTURN_METRICS_PORT: String(metricsPort + index) };
}

/** One process of the fleet, and its successors. */
class Part {
  readonly #name: "serve" | "work";
  #environment: NodeJS.ProcessEnv;
  #child: ChildProcess | undefined;
  #ended: Promise<string> = Promise.resolve("");
  restarts = 0;
  #isKilled = false;

  constructor(name: "serve" | "work", environment: NodeJS.ProcessEnv) {
    this.#name = name;
    this.#environment = environment;
  }

  moveTo(environment: NodeJS.ProcessEnv): void {
    this.#environment = { ...this.#environment, ...environment };
  }

  /** Starts the process; resolves when it works, rejects when it ends before. */
  async start(): Promise<ReadyMessage> {
    // Detached: a Ctrl-C in the terminal is for the parent, who then stops its parts in order.
    const child = spawn(process.execPath, [MAIN, this.#name], {
      env: this.#environment,
      detached: true,
      // Standard output is the command's own: what a handler prints goes where the log goes.
      stdio: ["ignore", process.stderr.fd, "inherit", "ipc"],
    });
    this.#child = child;
    this.#ended = new Promise((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("exit", (code, signal) => resolve(signal ?? `code ${code}`));
    });
    const ready = new Promise<ReadyMessage>((resolve) =>
      child.once("message", (message) => resolve(message as ReadyMessage)),
    );
    const failed = this.#ended.then((how) => {
      throw new InturnError("process_failed", `The ${this.#name} process ended with ${how}; its log above says why.`);
    });
    return await Promise.race([ready, failed]);
  }

  /** Starts the process again whenever it ends, until the signal aborts. */
  async keepAlive(stopping: AbortSignal, say: (line: string) => void): Promise<void> {
    let waitMs = RESTART_MS.first;
    for (;;) {
      const startedMs = performance.now();
      const how = await this.#ended;
      if (stopping.aborted) return;
      if (this.#isKilled || performance.now() - startedMs > WELL_MS) waitMs = RESTART_MS.first;
      if (!this.#isKilled) {
        say(`The ${this.#name} process ended by itself with ${how}; starting it again in ${waitMs / 1_000} s`);
      }
      this.#isKilled = false;
      await sleep(waitMs, undefined, { signal: stopping }).catch(() => undefined);
      if (stopping.aborted) return;
      waitMs = Math.min(2 * waitMs, RESTART_MS.most);
      this.restarts += 1;
      await this.start().catch(() => undefined);
    }
  }

  /** Kills the process, as a machine that dies does. It is no crash: its successor does not wait longer for it. */
  kill(): void {
    this.#isKilled = true;
    this.#child?.kill("SIGKILL");
  }

  async stop(killAfterMs: number): Promise<void> {
    this.#child?.kill("SIGTERM");
    const timer = setTimeout(() => this.#child?.kill("SIGKILL"), killAfterMs);
    await this.#ended;
    clearTimeout(timer);
  }
}
