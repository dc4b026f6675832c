/**
 * One request, repeated until it is answered for good: with the same body, so with the same ids.
 */
import type { Appended } from "../domain/event.ts";
import { SendError } from "./send-error.ts";

/** Where to send, and for how long. */
export interface Connection {
  readonly address: string;
  readonly apiKey: string | undefined;
  readonly fetch: typeof fetch;
  readonly giveUpMs: number;
  readonly answerMsMax: number;
}

/**
 * What came of a request: the seqs of its events; or how many events a request may have at most; or why it was not stored, and
 * which event is at fault, if it is one.
 */
export type Exchange =
  | { readonly events: readonly Appended[] }
  | { readonly eventsMax: number }
  | { readonly error: SendError; readonly index: number | undefined };

/** Answers after which the same request may succeed: the server says so, or something between us and it does. */
const WORTH_REPEATING = new Set([0, 408, 425, 429, 500, 502, 503, 504]);

/** The wait before a repetition, where the server names none: at first, and at most. It doubles, with some jitter. */
const BACKOFF_MS = { first: 100, most: 5_000 };

/** The longest wait that a server may ask for. */
const RETRY_AFTER_MS_MAX = 30_000;

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown> | null;
  readonly retryAfterMs: number | undefined;
  readonly cause?: unknown;
}

/** Sends events, each a JSON text, until they are answered for good, or time is up. Never rejects. */
export async function exchange(connection: Connection, events: readonly string[]): Promise<Exchange> {
  const body = `[${events.join(",")}]`;
  const giveUpMs = Date.now() + connection.giveUpMs;
  let isUnknown = false;
  for (let tries = 0; ; tries++) {
    const answer = await post(connection, body);
    const { status, body: document } = answer;
    if (status === 202 && Array.isArray(document?.["events"])) return { events: document["events"] as Appended[] };
    if (!WORTH_REPEATING.has(status)) return toRefusal(answer);
    const limit = status === 429 ? document?.["limit"] : undefined;
    if (typeof limit === "number" && limit >= 1 && limit < events.length) return { eventsMax: limit };
    // Only an answer says that nothing was stored; and an earlier try without one may still have been.
    isUnknown ||= status === 0 || status >= 500;
    const waitMs = answer.retryAfterMs ?? backoffOf(tries);
    if (Date.now() + waitMs > giveUpMs) return { error: toGivenUp(answer, isUnknown), index: undefined };
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

async function post(connection: Connection, body: string): Promise<Answer> {
  const { address, apiKey, answerMsMax } = connection;
  try {
    const response = await connection.fetch(address, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
      },
      body,
      signal: AbortSignal.timeout(answerMsMax),
    });
    const text = await response.text();
    return { status: response.status, body: parse(text), retryAfterMs: readRetryAfter(response) };
  } catch (cause) {
    return { status: 0, body: null, retryAfterMs: undefined, cause };
  }
}

function parse(text: string): Record<string, unknown> | null {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return null;
  }
}

/** Seconds, or a date. */
function readRetryAfter(response: Response): number | undefined {
  const header = response.headers.get("retry-after");
  if (header === null) return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1_000 : Date.parse(header) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), RETRY_AFTER_MS_MAX);
}

function backoffOf(tries: number): number {
  return Math.min(BACKOFF_MS.first * 2 ** Math.min(tries, 10), BACKOFF_MS.most) * (0.5 + Math.random() / 2);
}

function toRefusal({ status, body: problem, cause }: Answer): Exchange {
  const code = typeof problem?.["code"] === "string" ? problem["code"] : `status_${status}`;
  const detail = typeof problem?.["detail"] === "string" ? problem["detail"] : `The server answered ${status}.`;
  return { error: new SendError(code, detail, { status, problem, cause }), index: indexOf(problem) };
}

/** The event at fault, when all that is at fault is in one. */
function indexOf(problem: Record<string, unknown> | null): number | undefined {
  const errors = (problem?.["errors"] ?? []) as { pointer?: unknown }[];
  const index = /^\/(\d+)(?:\/|$)/.exec(String(errors[0]?.pointer))?.[1];
  return index === undefined ? undefined : Number(index);
}

function toGivenUp({ status, body: problem, cause }: Answer, isUnknown: boolean): SendError {
  const details = { status, problem, cause };
  if (isUnknown) {
    return new SendError(
      "outcome_unknown",
      "No answer says whether the event is stored; send it again with its id.",
      details,
    );
  }
  return new SendError(
    "unavailable",
    "The server has been unavailable for too long; the event is not stored.",
    details,
  );
}
