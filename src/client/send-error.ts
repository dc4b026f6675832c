/** Why an event was not sent, or is not known to be. Codes of the server's problem documents are passed on as they are. */
export type SendErrorCode =
  /** The server's answer did not come for too long: the event may be stored. Send it again with the same id. */
  | "outcome_unknown"
  /** The server was unavailable for too long; the event is not stored. */
  | "unavailable"
  /** An earlier event of the same account was not stored, so this one was not sent: it must not overtake it. */
  | "predecessor_failed"
  /** Too many events wait to be sent already. */
  | "queue_full"
  /** The client is closed. */
  | "closed"
  /** Any code of the server's: `event_invalid`, `event_id_reused`, `key_invalid`, … */
  | (string & {});

/** An event that was not sent, or is not known to be. */
export class SendError extends Error {
  readonly code: SendErrorCode;
  /** The server's status; 0 when it did not answer. */
  readonly status: number;
  /** The server's problem document, if it sent one. */
  readonly problem: Readonly<Record<string, unknown>> | null;

  constructor(
    code: SendErrorCode,
    message: string,
    details: { status?: number; problem?: Record<string, unknown> | null; cause?: unknown } = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "SendError";
    this.code = code;
    this.status = details.status ?? 0;
    this.problem = details.problem ?? null;
  }
}
