import { Command } from "commander";
import { readSettings } from "../config/settings.ts";
import { InturnError } from "../errors/error.ts";
import { textOf } from "../errors/text.ts";
import { print } from "./output.ts";

/** Longer than a healthy process takes on a busy machine, shorter than who asks waits. */
const ANSWER_MS_MAX = 2_500;

/** What listens on every address is asked on loopback. */
const EVERYWHERE: ReadonlySet<string> = new Set(["0.0.0.0", "::", ""]);

/** `health`: for containers, which have no curl. */
export function createHealthCommand(): Command {
  return new Command("health")
    .option("--worker", "ask the worker at INTURN_METRICS_PORT instead of the API at PORT")
    .action(async ({ worker = false }: { worker?: boolean }) => {
      const { host, port, metricsPort } = readSettings(process.env);
      const at = worker ? metricsPort : port;
      if (at === undefined || at === 0)
        throw new InturnError(
          "settings_invalid",
          `${worker ? "INTURN_METRICS_PORT" : "PORT"} has to say where it listens.`,
        );
      const address = EVERYWHERE.has(host) ? "127.0.0.1" : host;
      const url = `http://${address.includes(":") ? `[${address}]` : address}:${at}/readyz`;
      const { isReady, answer } = await ask(url);
      print(`${url}: ${answer}`);
      if (!isReady) process.exitCode = 1;
    });
}

async function ask(url: string): Promise<{ isReady: boolean; answer: string }> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    return { isReady: response.ok, answer: `${response.status} ${(await response.text()).trim()}` };
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return { isReady: false, answer: textOf(cause) };
  }
}
