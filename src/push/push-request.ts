/**
 * The request that pushes an event: its body, what it says of the event, and its signature.
 */
import { Webhook } from "standardwebhooks";
import type { PushFormat } from "../domain/push.ts";
import type { HandlerContext, HandlerEvent } from "../engine/handler.ts";

/** What makes a request. */
export interface PushRequest {
  readonly headers: Record<string, string>;
  readonly body: string;
}

/**
 * Makes the request for an event.
 *
 * @param webhooks sign it: of each secret one, the newest first
 */
export function createPushRequest(
  event: HandlerEvent,
  context: Pick<HandlerContext, "attempt" | "epoch" | "idempotencyKey">,
  options: { format: PushFormat; webhooks: readonly Webhook[]; now: Date },
): PushRequest {
  const { format, webhooks, now } = options;
  const body = format === "json" ? jsonOf(event, context) : event.dataText;
  // A header is ASCII, and the signature is over the id as it stands in its header.
  const id = encode(context.idempotencyKey);
  const headers: Record<string, string> = {
    "content-type": "application/json",
    "user-agent": "inturn",
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(now.getTime() / 1_000)),
    "webhook-signature": webhooks.map((webhook) => webhook.sign(id, now, body)).join(" "),
    "inturn-account": encode(event.accountId),
    "inturn-seq": String(event.seq),
    "inturn-attempt": String(context.attempt),
    "inturn-epoch": String(context.epoch),
    ...traceOf(event),
    ...(format === "cloudevents" && cloudEventOf(event, id)),
  };
  return { headers, body };
}

function jsonOf(
  event: HandlerEvent,
  { attempt, epoch, idempotencyKey }: Pick<HandlerContext, "attempt" | "epoch" | "idempotencyKey">,
): string {
  const { accountId, seq, id, type, metadata, occurredAt, receivedAt, dataText } = event;
  const rest = { accountId, seq, id, type, attempt, epoch, idempotencyKey, occurredAt, receivedAt, metadata };
  // The text of the data as it was sent: writing it anew could change a number.
  return `${JSON.stringify(rest).slice(0, -1)},"data":${dataText}}`;
}

/** The attributes that the sender gave win over ours. */
function cloudEventOf(event: HandlerEvent, key: string): Record<string, string> {
  const { metadata, id, type, accountId, occurredAt, receivedAt } = event;
  const { source, ...others } = metadata ?? {};
  const attributes: Record<string, string> = {
    "ce-specversion": "1.0",
    "ce-id": id === null ? key : encode(id),
    "ce-source": encode(typeof source === "string" && source !== "" ? source : "/inturn"),
    "ce-type": encode(type ?? "event"),
    "ce-subject": encode(accountId),
    "ce-time": (occurredAt ?? receivedAt).toISOString(),
  };
  for (const [name, value] of Object.entries(others)) {
    const isExtension = /^[a-z0-9]{1,20}$/.test(name) && ["string", "number", "boolean"].includes(typeof value);
    if (isExtension && !Object.hasOwn(attributes, `ce-${name}`)) attributes[`ce-${name}`] = encode(String(value));
  }
  return attributes;
}

function traceOf({ metadata }: HandlerEvent): Record<string, string> {
  const { traceparent, tracestate } = metadata ?? {};
  if (typeof traceparent !== "string") return {};
  return {
    traceparent: encode(traceparent),
    ...(typeof tracestate === "string" && { tracestate: encodeSpaced(tracestate) }),
  };
}

/** As CloudEvents write a text into a header: printable ASCII as it is, everything else, and space, quote and percent, encoded. */
function encode(text: string): string {
  return text.toWellFormed().replaceAll(/[^\x21\x23\x24\x26-\x7e]/gu, (character) => encodeURIComponent(character));
}

/** A tracestate has spaces, and is checked before it is stored. */
function encodeSpaced(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, "");
}
