/**
 * The tables; those of targets, of pauses, of operations on many accounts and of failed attempts stand in files of their own. Functions and views are in `sql/`, one file each.
 *
 * `accounts` is the truth about order: every change to an account locks its row first.
 * `events` is written once by append and once by settle. `workers` holds one row per live worker process, and
 * the lease of every account that process is running: one renewal covers all of them.
 */
import { sql } from "drizzle-orm";
import {
  bigint,
  boolean,
  check,
  doublePrecision,
  index,
  integer,
  json,
  primaryKey,
  smallint,
  text,
  uniqueIndex,
  uuid,
} from "drizzle-orm/pg-core";
import { SCOPES } from "../domain/access.ts";
import { ACCOUNT_STATES, OUTCOMES, VERBS } from "../domain/account.ts";
import { SOURCE_SCHEMES } from "../domain/source.ts";
import { TARGET_VERBS } from "../domain/target.ts";
import { byteOrderedText, moment, oneOf } from "./columns.ts";
import { inturn } from "./namespace.ts";

/** The epoch of an account that is made: beyond those of all that were erased. */
export const firstEpoch = inturn.sequence("first_epoch", { minValue: 0, startWith: 0 });

/** One row per account: its counters, its state, and who holds its lease. */
export const accounts = inturn.table(
  "accounts",
  {
    id: byteOrderedText("id").notNull(),
    lastSeq: bigint("last_seq", { mode: "number" }).notNull().default(0),
    processedSeq: bigint("processed_seq", { mode: "number" }).notNull().default(0),
    state: text("state", { enum: ACCOUNT_STATES }).notNull().default("idle"),
    epoch: bigint("epoch", { mode: "number" }).notNull().default(0),
    leaseWorker: uuid("lease_worker"),
    headAttempts: integer("head_attempts").notNull().default(0),
    // Whether the handler was called in this attempt: written before the call from the second attempt on, else not known.
    headStarted: boolean("head_started").notNull().default(false),
    // Attempts from before an operator's `retry`: the handler still hears of them, the limit does not.
    attemptsForgiven: integer("attempts_forgiven").notNull().default(0),
    nextAttemptAt: moment("next_attempt_at"),
    headError: text("head_error"),
    // Which target the head needs, when its last attempt failed or it waits for that target.
    headTarget: byteOrderedText("head_target"),
    // How often the head failed and was forgiven because its target was found to be away.
    headOutages: integer("head_outages").notNull().default(0),
    // Since when the head is put off without an attempt.
    snoozedSince: moment("snoozed_since"),
    // A blocked head with a time is set aside as a dead letter when that has come; without one it waits for a person.
    parkedUntil: moment("parked_until"),
    pausedAt: moment("paused_at"),
    // The pause of more than one account that it rests because of. When that lets it go on, this stays for one claim.
    pausedBy: bigint("paused_by", { mode: "number" }),
    // Counted here and not by an index on `events`: an index on an outcome would make every settle write to it.
    dead: bigint("dead", { mode: "number" }).notNull().default(0),
    skipped: bigint("skipped", { mode: "number" }).notNull().default(0),
    // Events up to here are no longer kept, except dead letters.
    prunedSeq: bigint("pruned_seq", { mode: "number" }).notNull().default(0),
    stateSince: moment("state_since").notNull().default(sql`clock_timestamp()`),
    createdAt: moment("created_at").notNull().default(sql`clock_timestamp()`),
  },
  (t) => [
    primaryKey({ name: "accounts_pk", columns: [t.id] }),
    // Read by the dashboard, and by the sweep for orphaned accounts. `state` changes once or twice a turn, not once an event, so settles stay HOT updates.
    index("accounts_not_idle").on(t.state, t.stateSince).where(sql`state <> 'idle'`),
    // Read by the search for lost wake-ups, in the order in which accounts became due.
    index("accounts_due")
      .on(sql`coalesce(next_attempt_at, state_since)`, t.id)
      .where(sql`state in ('scheduled', 'retrying') and paused_at is null`),
    // Read by the reconciler: few accounts are parked, also where many are blocked.
    index("accounts_parked").on(t.parkedUntil).where(sql`parked_until is not null`),
    // Read by the pages that show what was done last. Written once a turn, at its end.
    index("accounts_idle_since").on(t.stateSince).where(sql`state = 'idle'`),
    // Few accounts are paused or have dead letters, and these columns change with a verb or a failure only.
    index("accounts_paused").on(t.id).where(sql`paused_at is not null`),
    // Read by who lets accounts go on when a pause ends, in the order in which they have rested.
    index("accounts_paused_by").on(t.pausedBy, t.pausedAt).where(sql`paused_by is not null`),
    index("accounts_with_dead_letters").on(t.id).where(sql`dead > 0`),
    // Read by who wakes the accounts of a target that is back, in the order in which they have waited.
    index("accounts_waiting").on(t.headTarget, t.stateSince).where(sql`state = 'waiting'`),
    check("accounts_waiting_has_target", sql`state <> 'waiting' or head_target is not null`),
    check("accounts_state_known", sql`state in (${oneOf(ACCOUNT_STATES)})`),
    check("accounts_processed_not_ahead", sql`processed_seq between 0 and last_seq`),
    // The lost wake-up, forbidden by the database: an idle account has nothing left to handle.
    check("accounts_idle_has_no_pending", sql`state <> 'idle' or processed_seq = last_seq`),
    check("accounts_running_has_worker", sql`(state = 'running') = (lease_worker is not null)`),
    check("accounts_retrying_has_time", sql`(state = 'retrying') = (next_attempt_at is not null)`),
    check("accounts_parked_is_blocked", sql`parked_until is null or state = 'blocked'`),
    check("accounts_pruned_is_settled", sql`pruned_seq between 0 and processed_seq`),
    check("accounts_set_aside_is_settled", sql`dead >= 0 and skipped >= 0 and dead + skipped <= processed_seq`),
  ],
);

/** One row per event, with its seq in its account. */
export const events = inturn.table(
  "events",
  {
    accountId: byteOrderedText("account_id").notNull(),
    seq: bigint("seq", { mode: "number" }).notNull(),
    eventId: text("event_id"),
    type: text("type"),
    // `json`, not `jsonb`: the sender's text is kept as it was sent.
    data: json("data").notNull(),
    // What came with the event beside its data: the attributes of a CloudEvent, say.
    metadata: json("metadata"),
    // Of data and metadata as text: they are stored packed, and a reader must know their size before it reads them. Null for
    // events of an earlier version.
    bytes: integer("bytes"),
    occurredAt: moment("occurred_at"),
    receivedAt: moment("received_at").notNull(),
    startedAt: moment("started_at"),
    processedAt: moment("processed_at"),
    durationMs: doublePrecision("duration_ms"),
    // How many events before it were handled and not settled yet when it started. Null: none.
    unsettledBefore: smallint("unsettled_before"),
    attempts: integer("attempts").notNull().default(0),
    outcome: text("outcome", { enum: OUTCOMES }),
    // Why it was set aside.
    error: text("error"),
  },
  (t) => [
    // No foreign key to the account: checking it would lock the hottest row of the system once more for every event.
    primaryKey({ name: "events_pk", columns: [t.accountId, t.seq] }),
    uniqueIndex("events_event_id").on(t.accountId, t.eventId).where(sql`event_id is not null`),
    check("events_seq_from_one", sql`seq >= 1`),
    check("events_outcome_known", sql`outcome in (${oneOf(OUTCOMES)})`),
    check("events_settled_whole", sql`(outcome is null) = (processed_at is null)`),
  ],
);

/**
 * One row per live worker process; its lease covers every account it runs. Its process also holds a session advisory lock
 * under `life_key`: when that is gone and the renewals have stopped, the process is dead long before its lease runs out.
 */
export const workers = inturn.table(
  "workers",
  {
    id: uuid("id").notNull(),
    host: text("host").notNull(),
    pid: integer("pid").notNull(),
    concurrency: integer("concurrency").notNull(),
    startedAt: moment("started_at").notNull().default(sql`clock_timestamp()`),
    leaseExpiresAt: moment("lease_expires_at").notNull(),
    renewedAt: moment("renewed_at").notNull().default(sql`clock_timestamp()`),
    lifeKey: bigint("life_key", { mode: "number" }),
    // The pool id under which graphile-worker locks the jobs of this process.
    graphilePool: text("graphile_pool"),
    // Accounts that it has in hand; null for one that takes none, or of a version that does not say.
    inHand: integer("in_hand"),
    // Which list of pauses it goes by; null for a version that knows none.
    pausesVersion: bigint("pauses_version", { mode: "number" }),
  },
  (t) => [primaryKey({ name: "workers_pk", columns: [t.id] })],
);

/** What operators did, and why: one row per verb that was carried out. */
export const operations = inturn.table(
  "operations",
  {
    id: bigint("id", { mode: "number" }).generatedAlwaysAsIdentity(),
    at: moment("at").notNull().default(sql`clock_timestamp()`),
    verb: text("verb", { enum: [...VERBS, ...TARGET_VERBS] }).notNull(),
    accountId: byteOrderedText("account_id"),
    target: byteOrderedText("target"),
    // What a pause is of: `all`, or a type or a prefix behind that word.
    covers: text("covers"),
    seq: bigint("seq", { mode: "number" }),
    who: text("who").notNull(),
    why: text("why"),
    // The operation on many accounts that it was part of.
    operationId: bigint("operation_id", { mode: "number" }).default(
      sql`nullif(current_setting('inturn.operation', true), '')::bigint`,
    ),
  },
  (t) => [
    primaryKey({ name: "operations_pk", columns: [t.id] }),
    index("operations_of_account").on(t.accountId, t.id),
    check("operations_verb_known", sql`verb in (${oneOf([...VERBS, ...TARGET_VERBS])})`),
    check("operations_of_one", sql`num_nonnulls(account_id, target, covers) = 1`),
  ],
);

/** The API keys. A key is shown once, when it is made; only its hash is kept. */
export const apiKeys = inturn.table(
  "api_keys",
  {
    id: text("id").notNull(),
    name: text("name").notNull(),
    // SHA-256 in hex: a key is 32 random bytes, which cannot be found by trying.
    hash: text("hash").notNull(),
    scopes: text("scopes", { enum: SCOPES }).array().notNull(),
    // Only accounts whose id begins with this; null for all.
    accountPrefix: text("account_prefix"),
    eventsPerSecond: integer("events_per_second"),
    createdAt: moment("created_at").notNull().default(sql`clock_timestamp()`),
    revokedAt: moment("revoked_at"),
  },
  (t) => [
    primaryKey({ name: "api_keys_pk", columns: [t.id] }),
    check("api_keys_scopes_known", sql`scopes <@ array[${oneOf(SCOPES)}]`),
  ],
);

/** Where signed webhooks come from. A signature can only be checked with the secret itself, so that is what is kept. */
export const sources = inturn.table(
  "sources",
  {
    name: text("name").notNull(),
    // The newest first; an older one stays valid while senders change over.
    secrets: text("secrets").array().notNull(),
    // Whose way of signing it is.
    scheme: text("scheme", { enum: SOURCE_SCHEMES }).notNull().default("standard"),
    // Where the account's id is: JSON pointers or headers, one a line (see domain/source.ts).
    accountPointer: text("account_pointer").notNull(),
    // Where the event's id and type are; null for where its scheme has them.
    idPointer: text("id_pointer"),
    typePointer: text("type_pointer"),
    createdAt: moment("created_at").notNull().default(sql`clock_timestamp()`),
  },
  (t) => [
    primaryKey({ name: "sources_pk", columns: [t.name] }),
    check("sources_scheme_known", sql`scheme in (${oneOf(SOURCE_SCHEMES)})`),
    check("sources_have_secrets", sql`cardinality(secrets) between 1 and 2`),
  ],
);
