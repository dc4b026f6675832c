/** What an error code means. */
interface Meaning {
  /** The HTTP status that goes with it; null for errors that are never answered over HTTP. */
  readonly status: 400 | 401 | 403 | 404 | 405 | 409 | 413 | 415 | 421 | 422 | 429 | 500 | 503 | null;
  /** What happened, and what to do, in one sentence. */
  readonly says: string;
}

/**
 * Every error code, with its status and its meaning. A code is stable: scripts, clients and alerts match on it, never on the
 * message. docs/errors.md shows this table.
 */
export const ERRORS = {
  json_malformed: { status: 400, says: "The body is not JSON; the message says where it goes wrong." },
  body_missing: { status: 400, says: "The request needs a body." },
  body_incomplete: { status: 400, says: "The body ended before its announced length." },
  header_invalid: { status: 400, says: "A header has a value that is not allowed." },
  path_invalid: { status: 400, says: "A part of the path has a value that is not allowed." },
  query_invalid: { status: 400, says: "A query parameter is unknown or has a value that is not allowed." },
  key_missing: { status: 401, says: "This server asks for an API key: send `Authorization: Bearer …`." },
  key_invalid: { status: 401, says: "The API key is unknown or revoked." },
  signature_invalid: { status: 401, says: "The webhook's signature does not match its body, or it is too old." },
  scope_missing: { status: 403, says: "The API key may not do this, or not for this account." },
  origin_refused: { status: 403, says: "A browser sent this from another site." },
  form_refused: {
    status: 403,
    says: "The form was not made by this server, or before it was started again: load the page anew.",
  },
  route_not_found: { status: 404, says: "There is no such route." },
  account_not_found: { status: 404, says: "The account never had an event, or the key may not see it." },
  event_not_found: { status: 404, says: "The account has no event with this seq, or it is no longer kept." },
  operation_not_found: {
    status: 404,
    says: "There is no operation with this id, or it ended more than a month ago.",
  },
  operation_ended: { status: 409, says: "The operation has ended already: there is nothing to cancel." },
  source_not_found: { status: 404, says: "There is no webhook source with this name." },
  method_not_allowed: { status: 405, says: "The route exists, but not with this method." },
  event_id_reused: { status: 409, says: "The account has another event with this id; nothing was stored." },
  seq_unexpected: { status: 409, says: "The event would not get the seq that its sender expects; nothing was stored." },
  account_running: { status: 409, says: "An event of the account is being handled: pause the account first." },
  account_idle: { status: 409, says: "No event of the account is pending." },
  account_covered: {
    status: 409,
    says: "The account rests because of a pause of more than one account: that one has to be ended.",
  },
  event_not_dead: { status: 409, says: "The event is not a dead letter." },
  event_overtaken: {
    status: 409,
    says: "Later events of the account were started already: redrive with `force` appends a copy.",
  },
  event_not_settled: { status: 409, says: "No settled event with this seq is kept." },
  replay_too_large: { status: 409, says: "More than 100,000 events would be replayed at once." },
  pause_not_found: { status: 409, says: "There is no such pause to end." },
  target_not_open: { status: 409, says: "The target is closed already: its events start." },
  body_too_large: { status: 413, says: "The body, or one event in it, is larger than allowed." },
  media_type_unsupported: { status: 415, says: "The route does not read this content type." },
  host_refused: {
    status: 421,
    says: "A server without keys answers only on loopback names: create a key, or use localhost.",
  },
  batch_over_cells: {
    status: 422,
    says: "With `atomic`, all events of a request must lie in one cell. Nothing was stored.",
  },
  refused_in_part: {
    status: 409,
    says: "The events lie in several cells, and some of these will never store theirs: `events` says what became of each.",
  },
  stored_in_part: {
    status: 503,
    says: "The events lie in several cells, and some of these are away: `events` says what is stored. Send the request again; what has an id is not stored twice.",
  },
  cell_needed: {
    status: 404,
    says: "This server is for several cells, and this is asked of one: `/cells/{cell}` before the path.",
  },
  bucket_moving: {
    status: 503,
    says: "The account is being moved to another cell, which takes a moment: send the same request again.",
  },
  move_failed: { status: null, says: "A bucket could not be moved; the message says why, and where it lies." },
  wrong_cell: {
    status: 421,
    says: "The account lies in another cell, which the message names: send the event there, or to a server of all cells. Nothing was stored.",
  },
  event_invalid: {
    status: 422,
    says: "A field of an event is missing or wrong; `errors` names each one. Nothing was stored.",
  },
  operation_invalid: {
    status: 422,
    says: "A field of an operator's request is missing or wrong; `errors` names each one.",
  },
  operation_too_large: { status: 422, says: "More than 1,000,000 accounts match: give a limit." },
  account_full: { status: 429, says: "The account has too many pending events: send again after `Retry-After`." },
  rate_exceeded: { status: 429, says: "The key has sent more events than it may: send again after `Retry-After`." },
  overloaded: {
    status: 503,
    says: "The server has as many requests in memory as it may: send again after `Retry-After`.",
  },
  backlog_full: { status: 503, says: "Too many events are pending in all: send again after `Retry-After`." },
  account_locked: {
    status: 503,
    says: "Another transaction holds the account for too long: send the same request again.",
  },
  database_unavailable: {
    status: 503,
    says: "PostgreSQL does not answer, or only reads: send the same request again.",
  },
  database_not_migrated: { status: 503, says: "The database lacks tables of this version: migrate it." },
  worker_not_ready: { status: 503, says: "The worker does not handle events right now; the message says why." },
  role_not_permitted: {
    status: 500,
    says: "The database role of this process may not do this: `doctor` says what it may, docs/production.md which role is for what.",
  },
  internal: { status: 500, says: "An error that nobody foresaw; the log has it under the request's id." },
  stopped: { status: null, says: "It was stopped: nothing works after that." },
  events_unsettled: { status: null, says: "Events that a test waits for were not settled; the message names them." },
  settings_invalid: { status: null, says: "A setting or a flag is missing, unknown or wrong." },
  address_unavailable: {
    status: null,
    says: "The server cannot listen at this address: it is in use, not ours, or not allowed.",
  },
  cells_differ: {
    status: 500,
    says: "The cells of the settings and what their databases say do not agree; the message says where.",
  },
  cells_not_empty: { status: null, says: "Two databases have accounts already: only one cell may begin with some." },
  database_not_empty: { status: null, says: "The demo wants a database without other events." },
  database_too_new: { status: null, says: "The database was migrated by a newer version: upgrade this one." },
  pooler_in_between: {
    status: null,
    says: "A pooler in front of the database refuses or throws away our sessions' settings: set `INTURN_DIRECT_DATABASE_URL`.",
  },
  roles_not_allowed: {
    status: null,
    says: "This role may not make the roles, or grant them what they need: nothing was changed.",
  },
  demo_running: { status: null, says: "Another demo runs in this database: wait for its end." },
  migration_failed: { status: null, says: "The database could not be migrated; nothing of the migration was kept." },
  embedded_postgres_failed: { status: null, says: "The embedded PostgreSQL could not be started." },
  process_failed: { status: null, says: "A process that the command started ended at once." },
  load_refused: {
    status: null,
    says: "The API refused an event of the load generator, or there is none at this address.",
  },
  handler_missing: { status: null, says: "No handler is named: name its module, or `sleep` for the built-in one." },
  handler_not_found: { status: null, says: "There is no handler module at this path." },
  handler_invalid: { status: null, says: "The handler module does not load, or exports no handler." },
  keys_needed: { status: null, says: "Others can reach this address, and there is no API key: create one." },
  key_not_found: { status: null, says: "There is no such key that could be revoked." },
  source_exists: { status: null, says: "There is a webhook source with this name already." },
  push_refused: {
    status: null,
    says: "The URL that events are pushed to, or what its name resolves to, is not public, and no setting allows it.",
  },
  handler_timed_out: { status: null, says: "The handler took longer than its time limit; the attempt has failed." },
  batch_error_invalid: {
    status: null,
    says: "A handler said that more events of its batch went well than it had been given; none of them is settled.",
  },
  lease_lost: { status: null, says: "Another worker has the account now; nothing of this attempt is written." },
  transaction_repeated: { status: null, says: "The handler called `context.transaction` twice." },
  transaction_unavailable: {
    status: null,
    says: "No connection was free for the handler's transaction; no attempt is counted.",
  },
  transaction_aborted: {
    status: null,
    says: "A query of the handler's transaction failed and its error was not handled.",
  },
  transaction_misused: { status: null, says: "The handler's code ended the transaction itself." },
  transaction_ended: { status: null, says: "A client was used after the end of its transaction." },
} as const satisfies Readonly<Record<string, Meaning>>;

/** One of the codes of {@link ERRORS}. */
export type ErrorCode = keyof typeof ERRORS;
