/** The most events that one request, and one append, may carry. One append holds the rows of its accounts until it commits. */
export const APPEND_EVENTS_MAX = 2_000;

/** Characters of an account's or an event's id. The job key of an account must fit graphile-worker's 512, its index entry PostgreSQL's 2,704 bytes. */
export const ID_LENGTH_MAX = 250;

/** How deep an event's data may be nested: handlers in any language can parse that much without special care. */
export const DATA_DEPTH_MAX = 100;

/** Characters of an event type. */
export const EVENT_TYPE_LENGTH_MAX = 200;

/** An event on its way in: checked, not stored yet. */
export interface NewEvent {
  readonly accountId: string;
  /** JSON text. */
  readonly data: string;
  readonly type: string | null;
  /** The sender's id: within one account the same id is stored once. */
  readonly id: string | null;
  /** When it happened, as the sender says; an RFC 3339 timestamp. */
  readonly occurredAt: string | null;
  /** JSON text of an object: what came with the event beside its data. */
  readonly metadata: string | null;
  /** The seq that the sender expects the event to get. */
  readonly expectedSeq: number | null;
}

/** Where an event was stored. With `duplicate`, `seq` is that of the first copy. */
export interface Appended {
  readonly accountId: string;
  readonly seq: number;
  readonly duplicate: boolean;
}

/** An event as it was stored, on its way to the handler. */
export interface StoredEvent {
  readonly accountId: string;
  readonly seq: number;
  readonly id: string | null;
  readonly type: string | null;
  /** JSON text. */
  readonly data: string;
  /** JSON text of an object. */
  readonly metadata: string | null;
  /** What both take as text, in UTF-8. */
  readonly bytes: number;
  readonly occurredAt: Date | null;
  readonly receivedAt: Date;
}

/** The states of an event, as the views show them. */
export const EVENT_STATES = ["pending", "processing", "retrying", "processed", "dead", "skipped"] as const;

/** One of {@link EVENT_STATES}. */
export type EventState = (typeof EVENT_STATES)[number];
