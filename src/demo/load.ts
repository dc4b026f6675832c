/**
 * The load generator: a seeded workload over HTTP. Each account's events travel over one connection, one request after
 * the other, so the order of sending is the order of arrival; each carries its number within its account as a tag.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Pool } from "undici";
import { createWorkload, type Workload, type WorkloadEvent } from "../domain/workload.ts";
import { commandLine } from "../errors/command-line.ts";
import { InturnError } from "../errors/error.ts";
import { textOf } from "../errors/text.ts";

/** The type of every generated event; `verify` checks the tags of events of this type. */
export const LOAD_EVENT_TYPE = "inturn.load";

/** What to send, and how. */
export interface LoadOptions {
  /** Where the API listens. */
  readonly url: string;
  /** For an API with keys. */
  readonly apiKey?: string | undefined;
  readonly events: number;
  readonly accounts: number;
  readonly seed: number;
  readonly connections: number;
  /** Events per request; 1 sends single events. */
  readonly batch: number;
  /** Events per second at most; without it as fast as they are taken. */
  readonly rate?: number | undefined;
  readonly onProgress?: (sent: number) => void;
  readonly signal?: AbortSignal;
}

/** What was sent. */
export interface LoadReport {
  readonly events: number;
  readonly requests: number;
  /** Requests that were repeated because the server was unavailable. */
  readonly retries: number;
  /** Events that had been stored before: the same seed was sent twice. */
  readonly duplicates: number;
  /** Events of the account that got the most. */
  readonly longest: number;
  readonly seconds: number;
  readonly eventsPerSecond: number;
}

/** While the server is unavailable a request is repeated for this long, with the same ids. */
const UNAVAILABLE_MS_MAX = 60_000;

const RETRY_MS = 200;

/** Not now: too much at once, or the server is unavailable. */
const WORTH_REPEATING = new Set([429, 503]);

const ANSWER_MS_MAX = 30_000;

interface Load {
  readonly options: LoadOptions;
  readonly pool: Pool;
  readonly startedMs: number;
  /** Events that have been given their moment. */
  due: number;
  sent: number;
  /** Whether any request was answered. */
  isThere: boolean;
  requests: number;
  retries: number;
  duplicates: number;
}

/**
 * Sends the workload.
 *
 * @throws InturnError `load_refused` when the server refuses an event, is not there, or stays unavailable for a minute
 */
export async function runLoad(options: LoadOptions): Promise<LoadReport> {
  const workload = createWorkload(options);
  const pool = new Pool(options.url, {
    connections: options.connections,
    pipelining: 1,
    bodyTimeout: ANSWER_MS_MAX,
    headersTimeout: ANSWER_MS_MAX,
  });
  const load: Load = {
    options,
    pool,
    startedMs: performance.now(),
    due: 0,
    sent: 0,
    isThere: false,
    requests: 0,
    retries: 0,
    duplicates: 0,
  };
  try {
    await Promise.all(laneUp(workload, options.connections).map((lane) => sendLane(load, lane)));
  } finally {
    await pool.destroy();
  }
  const seconds = (performance.now() - load.startedMs) / 1_000;
  const { sent: events, requests, retries, duplicates } = load;
  const { longest } = workload;
  return { events, requests, retries, duplicates, longest, seconds, eventsPerSecond: events / seconds };
}

/** One lane per connection; an account keeps to one lane. */
function laneUp(workload: Workload, connections: number): WorkloadEvent[][] {
  const lanes: WorkloadEvent[][] = Array.from({ length: connections }, () => []);
  const laneOf = new Map(
    [...workload.eventsByAccount.keys()].map((accountId, i) => [accountId, lanes[i % connections]]),
  );
  for (const event of workload.events) laneOf.get(event.accountId)?.push(event);
  return lanes;
}

async function sendLane(load: Load, lane: readonly WorkloadEvent[]): Promise<void> {
  const { batch, onProgress, signal } = load.options;
  for (let start = 0; start < lane.length; start += batch) {
    signal?.throwIfAborted();
    const events = lane.slice(start, start + batch);
    await keepRate(load, events.length);
    await send(load, events);
    load.sent += events.length;
    onProgress?.(load.sent);
  }
}

/** Waits until these events are due. */
async function keepRate(load: Load, count: number): Promise<void> {
  const { rate, signal } = load.options;
  if (rate === undefined) return;
  // Taken before waiting: lanes that wait at the same time must not all wait for the same moment.
  load.due += count;
  const dueMs = load.startedMs + (load.due / rate) * 1_000;
  const waitMs = dueMs - performance.now();
  if (waitMs > 1) await sleep(waitMs, undefined, signal === undefined ? {} : { signal });
}

async function send(load: Load, events: readonly WorkloadEvent[]): Promise<void> {
  const { seed, batch } = load.options;
  const items = events.map((event) => ({
    accountId: event.accountId,
    type: LOAD_EVENT_TYPE,
    id: `${seed}-${event.n}`,
    data: { run: String(seed), n: event.n },
  }));
  const body = JSON.stringify(batch === 1 ? items[0] : items);
  const giveUpMs = performance.now() + UNAVAILABLE_MS_MAX;
  for (;;) {
    const answer = await post(load, body);
    if (answer.status === 202) {
      load.duplicates += countDuplicates(answer.text);
      return;
    }
    if (!WORTH_REPEATING.has(answer.status ?? 503) || performance.now() > giveUpMs) throw refusal(load, answer);
    // An API that was never there will not come: a wrong address, or nobody has started it.
    if (!load.isThere) throw refusal(load, answer);
    load.retries += 1;
    await sleep(RETRY_MS);
  }
}

interface Answer {
  /** Undefined when there was no answer: what became of the request is unknown, and its ids make it safe to repeat. */
  readonly status: number | undefined;
  readonly text: string;
}

function refusal({ options: { url } }: Load, { status, text }: Answer): InturnError {
  if (status !== undefined) {
    return new InturnError("load_refused", `${url}/v1/events answered ${status}: ${text.slice(0, 500)}`);
  }
  const message = `No API answers at ${url} (${text}). Start one (${commandLine("start")}), or give its address with --url.`;
  return new InturnError("load_refused", message);
}

async function post(load: Load, body: string): Promise<Answer> {
  const { apiKey } = load.options;
  load.requests += 1;
  try {
    const { statusCode, body: answer } = await load.pool.request({
      path: "/v1/events",
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
      },
      body,
    });
    const text = await answer.text();
    load.isThere = true;
    return { status: statusCode, text };
  } catch (error) {
    return { status: undefined, text: textOf(error) };
  }
}

function countDuplicates(answer: string): number {
  return answer.split('"duplicate":true').length - 1;
}
