import { z } from "@hono/zod-openapi";
import {
  ACCOUNT_ID_LENGTH_MAX,
  APPEND_EVENTS_MAX,
  EVENT_ID_LENGTH_MAX,
  EVENT_TYPE_LENGTH_MAX,
  type NewEvent,
} from "../domain/event.ts";
import type { Appender } from "../engine/append.ts";
import { type Fault, InturnError } from "../errors/error.ts";
import { readJsonText } from "./body.ts";
import { parseExactJson } from "./json.ts";
import { problemResponses } from "./problem.ts";
import type { ApiContext, Route } from "./route.ts";

/** Text of one line: no control characters, so that an id looks in a log like what it is. */
const line = (lengthMax: number) =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  z
    .string()
    .min(1)
    .max(lengthMax)
    .regex(/^[^\u0000-\u001f\u007f]*$/, "must not contain control characters");

const eventSchema = z.strictObject({
  accountId: line(ACCOUNT_ID_LENGTH_MAX),
  type: line(EVENT_TYPE_LENGTH_MAX).optional(),
  data: z.unknown().refine((data) => data !== undefined, "is required; it may be any JSON value"),
  id: line(EVENT_ID_LENGTH_MAX).optional(),
  time: z.iso
    .datetime({ offset: true })
    .refine((time) => !/^0000|[+-](?:1[6-9]|2\d):\d\d$/.test(time), "must be a time that PostgreSQL knows")
    .optional(),
});

const batchSchema = z.array(eventSchema).min(1);

/** How much one request may carry. */
export interface IngestLimits {
  readonly batchEventsMax: number;
  readonly bodyBytesMax: number;
  readonly dataDepthMax: number;
  readonly idLengthMax: number;
}

/** Sending events. */
export function createEventRoutes(options: { appender: Appender; limits: IngestLimits }): Route[] {
  return [
    {
      spec: {
        method: "post",
        path: "/v1/events",
        operationId: "sendEvents",
        summary: "Send one event or many",
        tags: ["Events"],
        request: {
          body: { required: true, content: { "application/json": { schema: z.union([eventSchema, batchSchema]) } } },
        },
        responses: {
          202: { description: "Stored.", content: { "application/json": { schema: z.looseObject({}) } } },
          ...problemResponses(
            "body_missing",
            "body_incomplete",
            "json_malformed",
            "body_too_large",
            "media_type_unsupported",
            "event_invalid",
            "event_id_reused",
            "seq_unexpected",
            "account_full",
            "backlog_full",
            "overloaded",
            "account_locked",
            "database_unavailable",
          ),
        },
      },
      access: "ingest",
      handle: (c) => postEvents(c, options.appender),
    },
  ];
}

/** `POST /v1/events`: one event or an array. Answers 202 once they are stored, each with its place in its account. */
async function postEvents(c: ApiContext, appender: Appender): Promise<Response> {
  const body = parseExactJson(await readJsonText(c));
  if (Array.isArray(body)) {
    // Before each item is looked at: a million of them would take seconds.
    if (body.length > APPEND_EVENTS_MAX) throw tooMany(body.length);
    const events = await appender.append(check(batchSchema, body).map(toNewEvent));
    return c.json({ events }, 202);
  }
  const [appended] = await appender.append([toNewEvent(check(eventSchema, body))]);
  return c.json(appended, 202);
}

function tooMany(count: number): InturnError {
  const message = `has ${count} events; a request may have ${APPEND_EVENTS_MAX}`;
  return new InturnError("event_invalid", `The array ${message}; nothing was stored.`, {
    faults: [{ where: "", message }],
  });
}

/** Faults that an answer lists; the first ones tell enough. */
const FAULTS_MAX = 20;

function check<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  const checked = schema.safeParse(body);
  if (checked.success) return checked.data;
  const { issues } = checked.error;
  const faults = issues
    .slice(0, FAULTS_MAX)
    .map((issue): Fault => ({ where: pointerOf(issue), message: issue.message }));
  const count = issues.length === 1 ? "One field is" : `${issues.length} fields are`;
  throw new InturnError("event_invalid", `${count} not as they should be; nothing was stored.`, { faults });
}

/** A JSON pointer to the field; an unknown field is the fault, not the object that holds it. */
function pointerOf(issue: z.core.$ZodIssue): string {
  const path = issue.code === "unrecognized_keys" ? [...issue.path, ...issue.keys.slice(0, 1)] : issue.path;
  return path.map((step) => `/${String(step).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

function toNewEvent(event: z.output<typeof eventSchema>): NewEvent {
  return {
    accountId: event.accountId,
    data: JSON.stringify(event.data),
    type: event.type ?? null,
    id: event.id ?? null,
    occurredAt: event.time ?? null,
    metadata: null,
    expectedSeq: null,
  };
}
