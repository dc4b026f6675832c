/**
 * Events line by line, for as long as a sender likes: each line is answered by a line. The stream ends at the first line
 * that is not stored, so that no later event of its account gets ahead of it; the sender goes on from there.
 */
import { randomUUID } from "node:crypto";
import { z } from "@hono/zod-openapi";
import type { NewEvent } from "../domain/event.ts";
import { onceAnswered, Unread } from "../engine/answers.ts";
import type { Appender } from "../engine/append.ts";
import { type BodyMemory } from "../engine/body-budget.ts";
import type { ErrorCode } from "../errors/codes.ts";
import { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";
import { type Admit, type Outcome, outcomesOf } from "./append.ts";
import { type BodyLimits, bodyMissing, decodeUtf8, readBodyChunks, tooLarge } from "./body.ts";
import type { IngestLimits } from "./event-schema.ts";
import type { EventContext, JsonEvents } from "./json-events.ts";
import { statusOf, toInturnError, toProblem } from "./problem.ts";
import type { ApiContext } from "./route.ts";

/** The media types of line-delimited JSON. */
export const NDJSON_TYPES = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

/** Answers that wait for a sender who reads none before it has sent everything; beyond this it is read no further. */
const ANSWER_BYTES_MAX = 4 * 1_048_576;

/** A line of the answer. */
export const ndjsonAnswerSchema = z
  .union([
    z.object({ line: z.int(), accountId: z.string(), seq: z.int(), duplicate: z.boolean() }),
    z.looseObject({ line: z.int().nullable(), status: z.int(), code: z.string(), detail: z.string() }),
  ])
  .openapi("StreamedAnswer");

/** What a stream of lines needs. */
export interface StreamOptions {
  readonly appender: Appender;
  readonly reader: JsonEvents;
  readonly limits: IngestLimits & BodyLimits;
  /** Whether the sender may store these events. */
  readonly admit: Admit;
  /** Hears of what a sender is not told. */
  readonly log: Log;
  readonly onRefused?: ((code: ErrorCode) => void) | undefined;
}

interface Line {
  readonly number: number;
  readonly bytes: Uint8Array;
}

/** Takes a stream of lines. Answers 200 with a stream, or throws what was wrong with the very first line. */
export async function takeLines(c: ApiContext, context: EventContext, options: StreamOptions): Promise<Response> {
  const answers = answerLines(c, context, options);
  // What becomes of the first line decides about the status.
  let next = await answers.next();
  if (next.done === true) throw bodyMissing();
  const encoder = new TextEncoder();
  const unread = new Unread(options.limits.memory);
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (next.done === true) return controller.close();
        const waiting = ANSWER_BYTES_MAX - (controller.desiredSize ?? 0);
        controller.enqueue(encoder.encode(next.value));
        try {
          unread.set(waiting);
          next = await answers.next();
        } catch (error) {
          // What comes behind is not stored: the sender hears why, and goes on from there.
          controller.enqueue(encoder.encode(answerFailure(null, error, options)));
          next = await answers.return(undefined);
        }
      },
      async cancel() {
        await answers.return(undefined);
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: ANSWER_BYTES_MAX }),
  );
  onceAnswered(c, () => unread.end());
  return c.body(stream, 200, { "content-type": "application/x-ndjson" });
}

/** The answer, a piece for each batch of lines. Throws only for the very first line. */
async function* answerLines(
  c: ApiContext,
  context: EventContext,
  options: StreamOptions,
): AsyncGenerator<string, void> {
  const close = c.get("trace").keepOpen();
  let isFirst = true;
  try {
    for await (const lines of readLines(c, options.limits)) {
      for (let start = 0; start < lines.length; start += options.limits.batchEventsMax) {
        const { answers, failure } = await storeLines(
          lines.slice(start, start + options.limits.batchEventsMax),
          context,
          options,
        );
        if (answers.length > 0) {
          isFirst = false;
          yield `${answers.join("\n")}\n`;
        }
        if (failure === undefined) continue;
        if (isFirst) throw failure.error;
        yield answerFailure(failure.line, failure.error, options);
        return;
      }
    }
  } catch (error) {
    if (isFirst) throw error;
    yield answerFailure(null, error, options);
  } finally {
    close();
  }
}

function answerFailure(line: number | null, thrown: unknown, { log, onRefused }: StreamOptions): string {
  const error = toInturnError(thrown);
  onRefused?.(error.code);
  const { type: _type, title: _title, ...problem } = toProblem(error, randomUUID());
  if (error.code === "internal") log.error({ err: thrown, requestId: problem.requestId, line }, "a request failed");
  return `${JSON.stringify({ line, ...problem, status: statusOf(error.code) })}\n`;
}

/** The answers for lines that are stored, and the first line that is not. */
interface StoredLines {
  readonly answers: string[];
  readonly failure: { readonly line: number; readonly error: unknown } | undefined;
}

/** Stores a batch up to the first line that cannot be; says which one and why. */
async function storeLines(lines: readonly Line[], context: EventContext, options: StreamOptions): Promise<StoredLines> {
  const events: NewEvent[] = [];
  let failure: { line: number; error: unknown } | undefined;
  for (const line of lines) {
    try {
      events.push(readLine(line, context, options.reader));
    } catch (error) {
      failure = { line: line.number, error };
      break;
    }
  }
  while (events.length > 0) {
    try {
      await options.admit(events);
      const appended = await options.appender.append(events);
      const answers = appended.map((stored, i) => JSON.stringify({ line: lines[i]?.number, ...stored }));
      return { answers, failure };
    } catch (error) {
      const outcomes = outcomesOf(error);
      if (outcomes !== undefined) return answerInPart(lines, outcomes);
      // A request is stored whole or not at all: what stands before the line at fault is a request of its own.
      const index = error instanceof InturnError ? Number(error.data["index"] ?? 0) : 0;
      failure = { line: lines[index]?.number ?? 0, error };
      events.length = index;
    }
  }
  return { answers: [], failure };
}

/** Over several cells lines may be stored behind the first that is not: whoever sends them again gets the same seqs, if they have ids. */
function answerInPart(lines: readonly Line[], outcomes: readonly Outcome[]): StoredLines {
  const answers: string[] = [];
  for (const [i, outcome] of outcomes.entries()) {
    const line = lines[i]?.number ?? 0;
    if ("code" in outcome) return { answers, failure: { line, error: new InturnError(outcome.code, outcome.detail) } };
    answers.push(JSON.stringify({ line, ...outcome }));
  }
  return { answers, failure: undefined };
}

function readLine(line: Line, context: EventContext, reader: JsonEvents): NewEvent {
  const { idempotencyKey } = context;
  const key = idempotencyKey === undefined ? undefined : `${idempotencyKey}:${line.number}`;
  const { events, isBatch } = reader.read(decodeUtf8(line.bytes), { ...context, idempotencyKey: key });
  const [event] = events;
  if (event !== undefined && !isBatch) return event;
  throw new InturnError("event_invalid", "A line must be one event, not an array.", {
    faults: [{ where: "", message: "must be one event, not an array" }],
  });
}

const NEWLINE = 10;

/** The lines that are whole, as they come; empty ones are left out. */
async function* readLines(c: ApiContext, limits: IngestLimits & BodyLimits): AsyncGenerator<Line[]> {
  const { bodyBytesMax, memory } = limits;
  const begun = new BegunLine(bodyBytesMax, memory);
  let number = 0;
  try {
    for await (const chunk of readBodyChunks(c)) {
      const lines: Line[] = [];
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        number += 1;
        addLine(lines, { number, bytes: begun.finish(chunk.subarray(start, end)) });
        start = end + 1;
      }
      // What was whole before a line that is too long is stored before it is told of.
      if (lines.length > 0) yield lines;
      begun.add(chunk.subarray(start));
    }
    const lines: Line[] = [];
    addLine(lines, { number: number + 1, bytes: begun.finish(new Uint8Array()) });
    if (lines.length > 0) yield lines;
  } finally {
    begun.finish(new Uint8Array());
  }
}

/** A line of which the end has not come yet: in parts, which are put together once. */
class BegunLine {
  readonly #bytesMax: number;
  readonly #memory: BodyMemory;
  #parts: Uint8Array[] = [];
  #size = 0;

  constructor(bytesMax: number, memory: BodyMemory) {
    this.#bytesMax = bytesMax;
    this.#memory = memory;
  }

  /** @throws InturnError `body_too_large` or `overloaded` */
  add(part: Uint8Array): void {
    if (this.#size + part.byteLength > this.#bytesMax) throw tooLarge(this.#bytesMax, "A line");
    this.#memory.take(part.byteLength);
    this.#size += part.byteLength;
    if (part.byteLength > 0) this.#parts.push(part);
  }

  /** The whole line; the next one begins. */
  finish(end: Uint8Array): Uint8Array {
    if (this.#size === 0) return end;
    const bytes = Buffer.concat([...this.#parts, end]);
    this.#memory.give(this.#size);
    this.#parts = [];
    this.#size = 0;
    return bytes;
  }
}

function addLine(lines: Line[], line: Line): void {
  if (line.bytes.some((byte) => byte > 32)) lines.push(line);
}
