/**
 * What each kind of work needs to be allowed in the database, and nothing more. `roles` grants it, `doctor` looks whether it is there.
 */

/** Kinds of work besides the owner's: it migrates, and manages keys and sources. */
export const DUTIES = ["ingest", "work", "read", "operate"] as const;

/** One of {@link DUTIES}. */
export type Duty = (typeof DUTIES)[number];

/** Something in a schema, and what may be done with it, as `grant` spells it. */
export interface Privilege {
  readonly kind: "schema" | "table" | "sequence" | "function";
  /** With its schema; all functions of this name. */
  readonly name: string;
  readonly may: string;
}

const INTURN: Privilege = { kind: "schema", name: "inturn", may: "usage" };

function onTables(may: string, names: string, schema = "inturn"): Privilege[] {
  return names.split(" ").map((name) => ({ kind: "table", name: `${schema}.${name}`, may }));
}

/** Also a handler may append, in its own transaction. */
const APPEND = "append_event append_events append_json";

function functions(names: string, schema = "inturn"): Privilege[] {
  return names.split(" ").map((name) => ({ kind: "function", name: `${schema}.${name}`, may: "execute" }));
}

/** What people read in SQL. */
export const RESULT_VIEWS = [
  "account_results",
  "dead_letters",
  "event_results",
  "failed_attempts",
  "operation_status",
  "operator_log",
  "order_violations",
  "pause_status",
  "run_summary",
  "target_status",
  "throughput",
] as const;

/** Everything but the keys and the secrets of sources. */
const READ: readonly Privilege[] = [
  INTURN,
  { kind: "schema", name: "graphile_worker", may: "usage" },
  ...onTables(
    "select",
    "accounts events attempts workers operations targets target_attempts pauses pause_list buckets migrations",
  ),
  ...onTables("select", "bulk_operations bulk_operation_items"),
  ...onTables("select", RESULT_VIEWS.join(" ")),
  ...onTables("select", "jobs", "graphile_worker"),
  ...functions("event_state shown_state waits is_covered is_of_type has_due find_events first_since matching_accounts"),
];

/** What graphile-worker does, which has no functions for it. */
const DISPATCH: readonly Privilege[] = [
  { kind: "schema", name: "graphile_worker", may: "usage" },
  ...onTables("select, insert, update, delete", "_private_jobs _private_job_queues _private_tasks", "graphile_worker"),
  ...onTables("select, insert, update, delete", "_private_known_crontabs", "graphile_worker"),
  ...onTables("select", "migrations jobs", "graphile_worker"),
  { kind: "sequence", name: "graphile_worker.tasks_id_seq", may: "usage" },
  { kind: "sequence", name: "graphile_worker.job_queues_id_seq", may: "usage" },
  ...functions("complete_jobs force_unlock_workers permanently_fail_jobs reschedule_jobs", "graphile_worker"),
];

/** What each kind of work needs. */
export const NEEDS: Readonly<Record<Duty, readonly Privilege[]>> = {
  ingest: [
    INTURN,
    // To see whether it is there.
    { kind: "schema", name: "graphile_worker", may: "usage" },
    ...onTables("select", "accounts events api_keys sources pause_list buckets"),
    ...functions(`${APPEND} append_requests find_elsewhere locked_accounts waits shown_state`),
  ],
  work: [
    INTURN,
    ...onTables("select, update", "accounts"),
    ...onTables("select, update, delete", "events"),
    ...onTables("select, insert, update, delete", "workers attempts"),
    ...onTables("select", "pauses pause_list targets bulk_operations api_keys"),
    ...functions(
      `${APPEND} locked_accounts waits wake take_over is_covered is_of_type has_due tend_pauses tend_targets bucket_of`,
    ),
    ...functions("enter_target end_probe report_attempts trip_target carry_on_operation wake_operations"),
    ...DISPATCH,
  ],
  read: READ,
  operate: [
    ...READ,
    ...functions("pause resume retry skip redrive replay begin_pause end_pause open_target close_target"),
    ...functions("operate cancel_operation erase"),
  ],
};

/** Tables of graphile-worker whose rows only its owner sees, unless a policy says otherwise. */
export const POLICED = NEEDS.work
  .filter(({ kind, name }) => kind === "table" && name.startsWith("graphile_worker._private"))
  .map(({ name }) => name);
