/**
 * The handler that pushes events to a URL: each account's events one after the other, each until it is answered with 2xx.
 */

import { Webhook } from "standardwebhooks";
import { request } from "undici";
import type { RetryRule } from "../domain/failure.ts";
import type { PushFormat } from "../domain/push.ts";
import type { Handler } from "../engine/handler.ts";
import { InturnError } from "../errors/error.ts";
import { DoNotRetryError, TargetAwayError } from "../errors/retry.ts";
import { Destination, type DestinationOptions } from "./destination.ts";
import { createAddressCheck } from "./networks.ts";
import { createPushRequest } from "./push-request.ts";

/** More of an answer is not read. */
const ANSWER_BYTES_MAX = 65_536;

/** A `Retry-After` that asks for more is taken for this. */
const RETRY_AFTER_MS_MAX = 3_600_000;

/** How events are pushed. */
export interface PushOptions {
  /** Of Standard Webhooks, `whsec_…`; the newest first. A receiver accepts a request that one of its secrets fits. */
  readonly secrets: readonly string[];
  readonly format: PushFormat;
  /** Requests at the same time to one host, of one worker. */
  readonly requestsMax: number;
  /** Networks that are not public and may be reached; only those, and no others, without TLS. */
  readonly networks: readonly string[];
  /** The URL of a type, and the target that stands for it. */
  readonly ruleOf: (type: string | null) => Pick<RetryRule, "push" | "target">;
  readonly resolve?: DestinationOptions["resolve"];
}

/**
 * Creates the handler.
 *
 * @throws InturnError `push_refused` at a call whose URL is not allowed
 */
export function createPushHandler(options: PushOptions): Handler {
  const { format, ruleOf } = options;
  const webhooks = options.secrets.map((secret) => new Webhook(secret));
  const destinations = new Map<string, Destination>();
  const destinationOf = (url: URL): Destination => {
    const known = destinations.get(url.origin) ?? openDestination(url, options);
    destinations.set(url.origin, known);
    return known;
  };
  return async (event, context) => {
    const { push, target } = ruleOf(event.type);
    if (push === undefined) throw new DoNotRetryError("no URL is known for events of this type");
    const url = new URL(push);
    const destination = destinationOf(url);
    await destination.whenFree(context.signal, async () => {
      const pushed = createPushRequest(event, context, { format, webhooks, now: new Date() });
      await send(url, pushed, { destination, signal: context.signal, target });
    });
  };
}

function openDestination(url: URL, { requestsMax, networks, resolve }: PushOptions): Destination {
  const check = createAddressCheck({ allowed: networks, onlyAllowed: url.protocol === "http:" });
  return new Destination({ url, requestsMax, check, ...(resolve !== undefined && { resolve }) });
}

async function send(
  url: URL,
  { headers, body }: ReturnType<typeof createPushRequest>,
  { destination, signal, target }: { destination: Destination; signal: AbortSignal; target: string },
): Promise<void> {
  // The query may be a secret.
  const name = `POST ${url.origin}${url.pathname}`;
  const answer = await request(url, { method: "POST", headers, body, signal, dispatcher: destination.agent }).catch(
    (error: unknown) => {
      if (signal.aborted || error instanceof InturnError) throw error;
      throw new Error(`${name}: ${describe(error)}`, { cause: error });
    },
  );
  const { statusCode: status } = answer;
  const text = await readText(answer.body).catch((error: unknown) => {
    if (signal.aborted) throw error;
    // Whoever has said that it is done has said it.
    return `(the answer broke off: ${describe(error)})`;
  });
  if (status >= 200 && status < 300) return;
  const message = `${name} was answered with ${status}: ${text}`;
  if (status === 410) throw new DoNotRetryError(message);
  if (status === 429 || status === 503) {
    const retryAfterMs = retryAfterOf(answer.headers["retry-after"]);
    throw new TargetAwayError(target, { message, ...(retryAfterMs !== undefined && { retryAfterMs }) });
  }
  throw new Error(message);
}

function describe(error: unknown): string {
  const { code, message } = error as { code?: unknown; message?: unknown };
  return [code, message].filter((part) => typeof part === "string" && part !== "").join(" ");
}

async function readText(body: AsyncIterable<Buffer> & { destroy(): unknown }): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= ANSWER_BYTES_MAX) break;
  }
  return Buffer.concat(chunks).subarray(0, ANSWER_BYTES_MAX).toString("utf8");
}

/** In ms: a number of seconds or a date. */
function retryAfterOf(header: string | string[] | undefined): number | undefined {
  const text = Array.isArray(header) ? header[0] : header;
  if (text === undefined) return undefined;
  const ms = /^\d+$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), RETRY_AFTER_MS_MAX);
}
