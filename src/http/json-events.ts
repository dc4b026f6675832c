/**
 * Events as JSON: one object, an array, or a line of NDJSON.
 */
import { z } from "@hono/zod-openapi";
import { APPEND_EVENTS_MAX, type NewEvent } from "../domain/event.ts";
import type { RequestTrace } from "../trace/request-trace.ts";
import { check, createEventSchema, type EventSchema, eventInvalid, toNewEvent } from "./event-schema.ts";
import { parseJson, sliceMember } from "./json-text.ts";

/** What a document held: its events, and whether they came as an array. */
export interface ReadEvents {
  readonly events: readonly NewEvent[];
  readonly isBatch: boolean;
}

/** What surrounds a document. */
export interface EventContext {
  /** The account of the path, where it names one. */
  readonly accountId: string | undefined;
  /** For events without an id of their own. */
  readonly idempotencyKey: string | undefined;
  readonly trace: RequestTrace;
}

/** Reads documents. */
export class JsonEvents {
  readonly #schemas = { needed: createSchemas("needed"), known: createSchemas("known") };

  /** The schemas, for the API's description. */
  schemasFor(accountIs: "needed" | "known"): { one: EventSchema; many: z.ZodArray<EventSchema> } {
    return this.#schemas[accountIs];
  }

  /** @throws InturnError `json_malformed` or `event_invalid` */
  read(text: string, context: EventContext): ReadEvents {
    const body = parseJson(text);
    const { one, many } = this.#schemas[context.accountId === undefined ? "needed" : "known"];
    const { accountId, idempotencyKey, trace } = context;
    if (!Array.isArray(body)) {
      const options = { path: [], accountId, id: idempotencyKey ?? null, trace };
      return { events: [toNewEvent(check(one, body), sliceMember(text, "data")[0], options)], isBatch: false };
    }
    refuseTooMany(body.length);
    const checked = check(many, body);
    const slices = sliceMember(text, "data");
    const events = checked.map((event, i) => {
      const id = idempotencyKey === undefined ? null : `${idempotencyKey}:${i}`;
      return toNewEvent(event, slices[i], { path: [i], accountId, id, trace });
    });
    return { events, isBatch: true };
  }
}

/** Before each item is looked at: a million of them would take seconds. @throws InturnError `event_invalid` */
export function refuseTooMany(count: number): void {
  if (count <= APPEND_EVENTS_MAX) return;
  throw eventInvalid([], `has ${count} events; a request may have ${APPEND_EVENTS_MAX}`);
}

function createSchemas(accountIs: "needed" | "known"): { one: EventSchema; many: z.ZodArray<EventSchema> } {
  const one = createEventSchema(accountIs);
  return { one, many: z.array(one).min(1).max(APPEND_EVENTS_MAX) };
}
