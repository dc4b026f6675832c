/**
 * What an event must look like; the same schemas check requests and describe them.
 */
import { z } from "@hono/zod-openapi";
import { DATA_DEPTH_MAX, EVENT_TYPE_LENGTH_MAX, ID_LENGTH_MAX, type NewEvent } from "../domain/event.ts";
import { type Fault, InturnError } from "../errors/error.ts";
import type { RequestTrace } from "../trace/request-trace.ts";
import { isTracestate, TRACEPARENT, TRACESTATE_LENGTH_MAX } from "../trace/trace-context.ts";
import { pointerTo, type Slice } from "./json-text.ts";

/** How much one request may carry. */
export interface IngestLimits {
  readonly bodyBytesMax: number;
  /** Lines of a stream that are stored at once. */
  readonly batchEventsMax: number;
}

/** Text of one line: no control characters, so that an id looks in a log like what it is. */
export function lineSchema(lengthMax: number): z.ZodString {
  return (
    z
      .string()
      .min(1)
      .max(lengthMax)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
      .regex(/^[^\u0000-\u001f\u007f-\u009f]*$/, "must not contain control characters")
  );
}

/** An account's id. A path cannot name "." and "..": every client takes them for steps in it. */
export const accountIdSchema = lineSchema(ID_LENGTH_MAX).regex(/^(?!\.{1,2}$)/, 'must not be "." or ".."');

/** A time that PostgreSQL knows. */
export const timeSchema = z.iso
  .datetime({ offset: true })
  .refine((time) => !/^0000|[+-](?:1[6-9]|2\d):\d\d$/.test(time), "must be a time that PostgreSQL knows");

const traceparentSchema = z.string().regex(TRACEPARENT, "must be a traceparent as W3C Trace Context has it");

const tracestateSchema = z
  .string()
  .max(TRACESTATE_LENGTH_MAX)
  .refine(isTracestate, "must be a tracestate as W3C Trace Context has it");

/** The schema of one event. */
export type EventSchema = ReturnType<typeof createEventSchema>;

/** An event that was checked. */
export type CheckedEvent = z.output<EventSchema>;

/** Creates the schema of one event; where the path names the account, the event need not. */
export function createEventSchema(accountIs: "needed" | "known" = "needed") {
  const accountId = accountIdSchema.openapi({ description: "Whose event it is.", example: "a1" });
  return z
    .strictObject({
      accountId: accountIs === "needed" ? accountId : accountId.optional(),
      type: lineSchema(EVENT_TYPE_LENGTH_MAX).optional().openapi({ example: "payment.made" }),
      data: z
        .unknown()
        .refine((data) => data !== undefined, "is required; it may be any JSON value")
        .openapi({ description: "Any JSON value; kept as it is written.", example: { amount: 12 } }),
      id: lineSchema(ID_LENGTH_MAX).optional().openapi({
        description: "Stored once in its account: sent again, the event is a duplicate.",
      }),
      time: timeSchema.optional().openapi({ description: "When it happened." }),
      expectedSeq: z.int().min(1).optional().openapi({ description: "The seq that the event must get; else 409." }),
      traceparent: traceparentSchema.optional().openapi({
        description: "W3C Trace Context: where the event comes from in a trace; without it, the request's.",
        example: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      }),
      tracestate: tracestateSchema
        .optional()
        .openapi({ description: "What tracing systems carry along with the traceparent." }),
    })
    .openapi(accountIs === "needed" ? "NewEvent" : "NewAccountEvent", {
      required: ["data", ...(accountIs === "needed" ? ["accountId"] : [])],
    });
}

/** Faults that an answer lists; the first ones tell enough. */
const FAULTS_MAX = 20;

/** @throws InturnError `event_invalid`, with the pointer to each fault */
export function check<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  const checked = schema.safeParse(body);
  if (checked.success) return checked.data;
  const { issues } = checked.error;
  const faults = issues
    .slice(0, FAULTS_MAX)
    .map((issue): Fault => ({ where: pointerOf(issue), message: issue.message }));
  const count = issues.length === 1 ? "One field is" : `${issues.length} fields are`;
  throw new InturnError("event_invalid", `${count} wrong; nothing was stored.`, { faults });
}

/** An unknown field is the fault, not the object that holds it. */
function pointerOf(issue: z.core.$ZodIssue): string {
  return pointerTo(issue.code === "unrecognized_keys" ? [...issue.path, ...issue.keys.slice(0, 1)] : issue.path);
}

/** One thing that is wrong with an event. @param path of the field, from the body on */
export function eventInvalid(path: readonly PropertyKey[], message: string): InturnError {
  return new InturnError("event_invalid", `${pointerTo(path) || "The body"} ${message}; nothing was stored.`, {
    faults: [{ where: pointerTo(path), message }],
  });
}

/**
 * The event as it will be stored: with the text of its data.
 *
 * @param options.path of the event in the body, for faults
 * @param options.accountId of the path, where it names one
 * @param options.id for an event without one
 * @param options.trace of the request
 * @throws InturnError `event_invalid`
 */
export function toNewEvent(
  event: CheckedEvent,
  data: Slice | undefined,
  options: {
    path: readonly PropertyKey[];
    accountId: string | undefined;
    id: string | null;
    trace: RequestTrace;
  },
): NewEvent {
  const { path } = options;
  const accountId = options.accountId ?? event.accountId;
  if (accountId === undefined) throw eventInvalid([...path, "accountId"], "is required");
  if (event.accountId !== undefined && event.accountId !== accountId) {
    throw eventInvalid([...path, "accountId"], "is not the account that the path names");
  }
  if (event.tracestate !== undefined && event.traceparent === undefined) {
    throw eventInvalid([...path, "tracestate"], "needs a traceparent beside it");
  }
  const context = options.trace.contextFor(event);
  return {
    accountId,
    data: checkDepth(data ?? { text: "null", depth: 0 }, path),
    type: event.type ?? null,
    id: event.id ?? options.id,
    occurredAt: event.time ?? null,
    metadata: context === undefined ? null : JSON.stringify(context),
    expectedSeq: event.expectedSeq ?? null,
  };
}

/** The text of an event's data. @throws InturnError `event_invalid` when it is nested too deep */
export function checkDepth(data: Slice, path: readonly PropertyKey[]): string {
  if (data.depth <= DATA_DEPTH_MAX) return data.text;
  throw eventInvalid([...path, "data"], `is nested deeper than ${DATA_DEPTH_MAX} levels`);
}
