/** How a command learns that it should end. */
import { isRunByNpm } from "../config/npm.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Ends a process that has not begun its work yet. Without it, a signal to the first process of a container would be lost. */
function endAtOnce(_name: string, number: number): void {
  process.exit(128 + number);
}

/** Has signals end the process until {@link listenForStop} takes over, if the command calls it at all. */
export function hearSignals(): void {
  for (const signal of SIGNALS) process.on(signal, endAtOnce);
}

/** Exit code of a command that was told twice: it left without finishing what it had in hand. */
const EXIT_FORCED = 1;

/**
 * A signal that aborts at the first SIGINT, SIGTERM or SIGHUP, or when a parent that started us as a part of its fleet
 * is gone, or npm's shell. The second signal ends the process, after what `onForced` still has to do; more of them change nothing.
 */
export function listenForStop(onForced: () => Promise<void> = async () => undefined): AbortSignal {
  const controller = new AbortController();
  let forced = false;
  const stop = () => {
    if (!controller.signal.aborted) return controller.abort();
    if (forced) return;
    forced = true;
    void onForced()
      .catch(() => undefined)
      .then(() => process.exit(EXIT_FORCED));
  };
  for (const signal of SIGNALS) process.on(signal, stop).off(signal, endAtOnce);
  // Unreferenced: listening to the parent is no reason to stay.
  process.channel?.unref();
  process.once("disconnect", () => controller.abort());
  if (isRunByNpm(process.env)) watchParent(() => controller.abort());
  return controller.signal;
}

/** Between two looks at the parent. */
const PARENT_LOOK_MS = 500;

/** npm passes a signal to its shell only, which ends by it and leaves what runs in it to another parent. */
function watchParent(onGone: () => void): void {
  const parent = process.ppid;
  const looking = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(looking);
    onGone();
  }, PARENT_LOOK_MS);
  looking.unref();
}

/** Resolves when the signal aborts. */
export async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** What `work` gives, or undefined when it was cut short because the command was told to stop. */
export async function unlessStopped<Result>(stop: AbortSignal, work: Promise<Result>): Promise<Result | undefined> {
  try {
    return await work;
  } catch (error) {
    if (stop.aborted && error instanceof Error && error.name === "AbortError") return undefined;
    throw error;
  }
}
