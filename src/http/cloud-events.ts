/**
 * Events as CloudEvents 1.0: one with its attributes in headers (binary mode), one as a JSON object (structured mode), or an
 * array of those (batch mode).
 *
 * The account is the path's, else the `partitionkey`, else the `subject`. `source` and `id` together are the event's id: a
 * source is a URI and holds no space, so a space between them keeps them apart.
 */
import { z } from "@hono/zod-openapi";
import { EVENT_TYPE_LENGTH_MAX, ID_LENGTH_MAX, type NewEvent } from "../domain/event.ts";
import { accountIdSchema, check, checkDepth, eventInvalid, lineSchema, timeSchema } from "./event-schema.ts";
import { type EventContext, type ReadEvents, refuseTooMany } from "./json-events.ts";
import { parseJson, type Slice, sliceMember } from "./json-text.ts";
import type { ApiContext } from "./route.ts";

/** The media types of the JSON format. */
export const CLOUD_EVENT_TYPES = { one: "application/cloudevents+json", batch: "application/cloudevents-batch+json" };

/** What a header of binary mode begins with. */
const PREFIX = "ce-";

const attributeSchema = z.union([z.string().max(4_096), z.boolean(), z.int()]);

/** Creates the schema of a CloudEvent in the JSON format. */
export function createCloudEventSchema() {
  return z
    .object({
      specversion: z.literal("1.0"),
      id: lineSchema(ID_LENGTH_MAX),
      source: lineSchema(ID_LENGTH_MAX).regex(/^\S*$/, "must be a URI, which has no spaces"),
      type: lineSchema(EVENT_TYPE_LENGTH_MAX),
      time: timeSchema.optional(),
      subject: accountIdSchema.optional(),
      partitionkey: accountIdSchema.optional(),
      datacontenttype: z.string().max(250).optional(),
      dataschema: z.string().max(2_000).optional(),
      data: z.unknown().optional(),
      data_base64: z.base64().optional(),
    })
    .catchall(attributeSchema)
    .refine((event) => Object.keys(event).every((name) => /^([a-z0-9]{1,100}|data_base64)$/.test(name)), {
      error: "has an attribute whose name is not in lower-case letters and digits",
    })
    .refine((event) => event.data === undefined || event.data_base64 === undefined, {
      error: "has both data and data_base64",
    })
    .openapi("CloudEvent");
}

type CloudEvent = z.output<ReturnType<typeof createCloudEventSchema>>;

/** Reads CloudEvents. */
export class CloudEvents {
  readonly schema: ReturnType<typeof createCloudEventSchema> = createCloudEventSchema();

  /** Structured and batch mode. @throws InturnError `json_malformed` or `event_invalid` */
  readJson(text: string, isBatch: boolean, context: EventContext): ReadEvents {
    const body = parseJson(text);
    if (isBatch !== Array.isArray(body)) {
      throw eventInvalid([], isBatch ? "must be an array of CloudEvents" : "must be one CloudEvent");
    }
    if (!Array.isArray(body)) {
      const event = check(this.schema, body);
      return { events: [this.#toNewEvent(event, sliceMember(text, "data")[0], [], context)], isBatch };
    }
    refuseTooMany(body.length);
    const slices = sliceMember(text, "data");
    const events = check(z.array(this.schema).min(1), body);
    return { events: events.map((event, i) => this.#toNewEvent(event, slices[i], [i], context)), isBatch };
  }

  /** Binary mode: the attributes are headers, the body is the data. @throws InturnError as `readJson` */
  readBinary(c: ApiContext, text: string, context: EventContext): ReadEvents {
    const attributes: Record<string, string> = {};
    for (const [header, value] of Object.entries(c.req.header())) {
      if (header.startsWith(PREFIX)) attributes[header.slice(PREFIX.length)] = decodeHeader(header, value);
    }
    const event = check(this.schema, attributes);
    if (text === "") return { events: [this.#toNewEvent(event, undefined, [], context)], isBatch: false };
    parseJson(text);
    // The whole body is the data: as the only member of an object it is cut out, and measured, like any other.
    const [data] = sliceMember(`{"data":${text}}`, "data");
    event.datacontenttype = c.req.header("content-type");
    return { events: [this.#toNewEvent(event, data, [], context)], isBatch: false };
  }

  #toNewEvent(event: CloudEvent, data: Slice | undefined, path: readonly number[], context: EventContext): NewEvent {
    const { data: _parsed, data_base64: base64, type, time, ...attributes } = event;
    const accountId = context.accountId ?? event.partitionkey ?? event.subject;
    if (accountId === undefined) {
      throw eventInvalid([...path, "partitionkey"], "is required, or a subject: it names the account");
    }
    const id = `${event.source} ${event.id}`;
    if (id.length > ID_LENGTH_MAX) {
      throw eventInvalid([...path, "id"], `is, with its source, longer than ${ID_LENGTH_MAX} characters`);
    }
    const encoding = base64 === undefined ? {} : { dataencoding: "base64" };
    const text =
      base64 === undefined ? (data ?? { text: "null", depth: 0 }) : { text: JSON.stringify(base64), depth: 0 };
    return {
      accountId,
      data: checkDepth(text, path),
      type,
      id,
      occurredAt: time ?? null,
      // A traceparent that is none gives way to the request's, and takes its tracestate with it.
      metadata: JSON.stringify({ ...attributes, ...encoding, ...context.trace.contextFor(attributes) }),
      expectedSeq: null,
    };
  }
}

/** Whether a request is a CloudEvent in binary mode. */
export function isBinaryMode(c: ApiContext): boolean {
  return c.req.header(`${PREFIX}specversion`) !== undefined;
}

/** Header values are percent-encoded UTF-8, and may stand in quotes. */
function decodeHeader(header: string, value: string): string {
  try {
    const decoded = decodeURIComponent(value.replace(/^"(.*)"$/, "$1"));
    if (decoded.isWellFormed() && !decoded.includes("\0")) return decoded;
  } catch {
    // Told below.
  }
  throw eventInvalid([header.slice(PREFIX.length)], "is not percent-encoded UTF-8");
}
