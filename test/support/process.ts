import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

/** A process of the project under test. */
export interface TestProcess {
  readonly child: ChildProcess;
  /** What it told its parent when it was ready. */
  readonly ready: Promise<{ url?: string }>;
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  readonly output: { stdout: string; stderr: string };
  /** SIGTERM, and wait. */
  stop(): Promise<number | NodeJS.Signals>;
}

const running = new Set<ChildProcess>();

/** Kills what a test has left running: after a failed assertion nobody else would. */
export function killLeftovers(): void {
  for (const child of running) child.kill("SIGKILL");
}

/** Starts `inturn <args>`, or another script, with these environment variables on top of ours. */
export function startProcess(
  args: readonly string[],
  environment: Record<string, string> = {},
  options: { script?: string; cwd?: string } = {},
): TestProcess {
  const script = options.script ?? new URL("../../src/cli/main.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [script, ...args], {
    env: { ...process.env, NODE_OPTIONS: "", LOG_LEVEL: "warn", ...environment },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    ...(options.cwd !== undefined && { cwd: options.cwd }),
  });
  running.add(child);
  child.once("exit", () => running.delete(child));
  const output = { stdout: "", stderr: "" };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (output.stdout += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (output.stderr += text));
  const ended = once(child, "close").then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
  const message = once(child, "message").then(([ready]) => ready as { url?: string });
  const ready = Promise.race([
    message,
    ended.then((how) => {
      throw new Error(`inturn ${args.join(" ")} ended with ${how}: ${output.stderr}`);
    }),
  ]);
  ready.catch(() => undefined);
  return {
    child,
    ready,
    ended,
    output,
    stop: async () => {
      child.kill("SIGTERM");
      return await ended;
    },
  };
}

/** Runs `inturn <args>` to its end. */
export async function runProcess(
  args: readonly string[],
  environment: Record<string, string> = {},
  options: { script?: string; cwd?: string } = {},
): Promise<{ code: number | NodeJS.Signals; stdout: string; stderr: string }> {
  const started = startProcess(args, environment, options);
  const code = await started.ended;
  return { code, ...started.output };
}
