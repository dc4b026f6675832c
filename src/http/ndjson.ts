/**
 * Events line by line, for as long as a sender likes: each line is answered by a line. The stream ends at the first line
 * that is not stored, so that no later event of its account gets ahead of it; the sender goes on from there.
 */
import { z } from "@hono/zod-openapi";
import type { NewEvent } from "../domain/event.ts";
import type { Appender } from "../engine/append.ts";
import { InturnError } from "../errors/error.ts";
import type { Admit } from "./append.ts";
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
    z.looseObject({ line: z.int(), status: z.int(), code: z.string(), detail: z.string() }),
  ])
  .openapi("StreamedAnswer");

/** What a stream of lines needs. */
export interface StreamOptions {
  readonly appender: Appender;
  readonly reader: JsonEvents;
  readonly limits: IngestLimits & BodyLimits;
  /** Whether the sender may store these events. */
  readonly admit: Admit;
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
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (next.done === true) return controller.close();
        controller.enqueue(encoder.encode(next.value));
        next = await answers.next();
      },
      async cancel() {
        await answers.return(undefined);
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: ANSWER_BYTES_MAX }),
  );
  return c.body(stream, 200, { "content-type": "application/x-ndjson" });
}

/** The answer, a piece for each batch of lines. Throws only for the very first line. */
async function* answerLines(
  c: ApiContext,
  context: EventContext,
  options: StreamOptions,
): AsyncGenerator<string, void> {
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
        yield answerFailure(failure.line, failure.error);
        return;
      }
    }
  } catch (error) {
    if (isFirst) throw error;
    yield answerFailure(null, error);
  }
}

function answerFailure(line: number | null, thrown: unknown): string {
  const error = toInturnError(thrown);
  const { type: _type, title: _title, requestId: _id, ...problem } = toProblem(error, "");
  return `${JSON.stringify({ line, ...problem, status: statusOf(error.code) })}\n`;
}

/** Stores a batch up to the first line that cannot be; says which one and why. */
async function storeLines(
  lines: readonly Line[],
  context: EventContext,
  options: StreamOptions,
): Promise<{ answers: string[]; failure: { line: number; error: unknown } | undefined }> {
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
      const answers = appended.map((place, i) => JSON.stringify({ line: lines[i]?.number, ...place }));
      return { answers, failure };
    } catch (error) {
      // A request is stored whole or not at all: what stands before the line at fault is a request of its own.
      const index = error instanceof InturnError ? Number(error.data["index"] ?? 0) : 0;
      failure = { line: lines[index]?.number ?? 0, error };
      events.length = index;
    }
  }
  return { answers: [], failure };
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
  const { bodyBytesMax, budget } = limits;
  let number = 0;
  let rest = new Uint8Array();
  try {
    for await (const chunk of readBodyChunks(c)) {
      budget.take(chunk.byteLength);
      const bytes = rest.byteLength === 0 ? chunk : Buffer.concat([rest, chunk]);
      const lines: Line[] = [];
      let start = 0;
      for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
        number += 1;
        addLine(lines, { number, bytes: bytes.subarray(start, end) });
        start = end + 1;
      }
      const restBefore = rest.byteLength;
      rest = new Uint8Array(bytes.subarray(start));
      budget.give(restBefore + chunk.byteLength - rest.byteLength);
      if (rest.byteLength > bodyBytesMax) throw tooLarge(bodyBytesMax, "A line");
      if (lines.length > 0) yield lines;
    }
    const lines: Line[] = [];
    addLine(lines, { number: number + 1, bytes: rest });
    if (lines.length > 0) yield lines;
  } finally {
    budget.give(rest.byteLength);
  }
}

function addLine(lines: Line[], line: Line): void {
  if (line.bytes.some((byte) => byte > 32)) lines.push(line);
}
