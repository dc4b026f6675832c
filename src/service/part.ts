/**
 * A process that this one keeps: a child that hears nothing from its parent any more stops by itself; a child that ends without
 * being told to is started again.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { extname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { InturnError } from "../errors/error.ts";

/** What a part tells its parent once it works. */
export interface ReadyMessage {
  readonly ready: true;
  /** Where it listens, if it does. */
  readonly url?: string | undefined;
}

/** A part that does not stop by itself is killed this long after its own deadline. */
export const KILL_MS = 8_000;

/** Between the end of a part and its next start: at first, and at most; a part that lived long starts over. */
const RESTART_MS = { first: 200, most: 10_000 };

/** A part that lived this long has been well. */
const WELL_MS = 10_000;

const MAIN = join(import.meta.dirname, "..", "cli", `main${extname(import.meta.filename)}`);

/** What a part runs. */
interface PartOptions {
  readonly command: "serve" | "work";
  readonly arguments?: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  /** What it is told first. */
  readonly greeting?: object;
  /** Hears what the process says, but for that it works. */
  readonly onMessage?: (message: unknown) => void;
}

/** One process, and its successors. */
export class Part {
  readonly #options: PartOptions;
  #environment: NodeJS.ProcessEnv;
  #child: ChildProcess | undefined;
  #ended: Promise<string> = Promise.resolve("");
  restarts = 0;
  #isKilled = false;

  constructor(options: PartOptions) {
    this.#options = options;
    this.#environment = options.environment;
  }

  moveTo(environment: NodeJS.ProcessEnv): void {
    this.#environment = { ...this.#environment, ...environment };
  }

  /** Starts the process; resolves when it works, rejects when it ends before. */
  async start(): Promise<ReadyMessage> {
    // Detached: a Ctrl-C in the terminal is for the parent, who then stops its parts in order.
    const { command, arguments: more = [], onMessage } = this.#options;
    const child = spawn(process.execPath, [MAIN, command, ...more], {
      env: this.#environment,
      detached: true,
      // Standard output is the command's own: what a handler prints goes where the log goes.
      stdio: ["ignore", process.stderr.fd, "inherit", "ipc"],
    });
    this.#child = child;
    if (this.#options.greeting !== undefined) this.say(this.#options.greeting);
    this.#ended = new Promise((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("exit", (code, signal) => resolve(signal ?? `code ${code}`));
    });
    const ready = new Promise<ReadyMessage>((resolve) =>
      child.on("message", (message) => (isReadyMessage(message) ? resolve(message) : onMessage?.(message))),
    );
    const failed = this.#ended.then((how) => {
      throw new InturnError("process_failed", `The ${command} process ended with ${how}; its log above says why.`);
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
        say(
          `The ${this.#options.command} process ended by itself with ${how}; starting it again in ${waitMs / 1_000} s`,
        );
      }
      this.#isKilled = false;
      await sleep(waitMs, undefined, { signal: stopping }).catch(() => undefined);
      if (stopping.aborted) return;
      waitMs = Math.min(2 * waitMs, RESTART_MS.most);
      this.restarts += 1;
      await this.start().catch(() => undefined);
    }
  }

  /** Says something to the process, if there is one that hears. */
  say(message: object): void {
    if (this.#child?.connected === true) this.#child.send(message, () => undefined);
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

function isReadyMessage(message: unknown): message is ReadyMessage {
  return typeof message === "object" && message !== null && "ready" in message;
}
