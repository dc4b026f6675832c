/**
 * Every code an {@link InturnError} can carry. A code is stable: scripts, clients and alerts match on it, never on the message.
 */
export const ERROR_CODES = [
  "settings_invalid",
  "database_unavailable",
  "database_not_migrated",
  "database_not_empty",
  "migration_failed",
  "embedded_postgres_failed",
  "handler_not_found",
  "handler_invalid",
  "process_failed",
  "load_refused",
  "event_invalid",
  "query_invalid",
  "path_invalid",
  "header_invalid",
  "body_missing",
  "body_incomplete",
  "body_too_large",
  "json_malformed",
  "media_type_unsupported",
  "account_not_found",
  "account_running",
  "account_idle",
  "account_locked",
  "event_not_dead",
  "event_overtaken",
  "event_not_settled",
  "replay_too_large",
  "operation_invalid",
  "origin_refused",
  "form_refused",
  "worker_not_ready",
  "handler_timed_out",
  "lease_lost",
  "transaction_repeated",
  "transaction_unavailable",
  "transaction_aborted",
  "transaction_misused",
  "transaction_ended",
  "route_not_found",
  "method_not_allowed",
  "overloaded",
  "event_id_reused",
  "seq_unexpected",
  "account_full",
  "backlog_full",
  "rate_exceeded",
  "key_missing",
  "key_invalid",
  "key_not_found",
  "keys_needed",
  "scope_missing",
  "signature_invalid",
  "source_not_found",
  "source_exists",
  "host_refused",
  "event_not_found",
  "internal",
] as const;

/** One of {@link ERROR_CODES}. */
export type ErrorCode = (typeof ERROR_CODES)[number];

/** One thing that is wrong with an input: where it stands (a JSON pointer, a flag or a variable) and what is wrong with it. */
export interface Fault {
  readonly where: string;
  readonly message: string;
}

/** Facts that a program can use: the account's seq after a conflict, the seconds to wait. */
export type ErrorData = Readonly<Record<string, string | number>>;

/** What goes with the message of an {@link InturnError}. */
export interface ErrorDetails {
  readonly faults?: readonly Fault[];
  readonly data?: ErrorData;
  readonly cause?: unknown;
}

/**
 * An error that a person or a program can act on: the message says what, which and what to do; `code` is stable;
 * `faults` lists every part of the input that is wrong; `data` holds facts about it; `cause` is what led to it.
 */
export class InturnError extends Error {
  readonly code: ErrorCode;
  readonly faults: readonly Fault[];
  readonly data: ErrorData;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "InturnError";
    this.code = code;
    this.faults = details.faults ?? [];
    this.data = details.data ?? {};
  }
}
