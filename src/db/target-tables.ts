/**
 * The tables of targets: the outside systems that handlers need.
 */
import { sql } from "drizzle-orm";
import { bigint, boolean, check, integer, primaryKey, text, uuid } from "drizzle-orm/pg-core";
import { TARGET_STATES } from "../domain/target.ts";
import { byteOrderedText, moment, oneOf } from "./columns.ts";
import { inturn } from "./namespace.ts";

/** One row per target that was away at some time, or seemed to be: its circuit breaker. A target without a row is closed. */
export const targets = inturn.table(
  "targets",
  {
    name: byteOrderedText("name").notNull(),
    state: text("state", { enum: TARGET_STATES }).notNull().default("closed"),
    since: moment("since").notNull().default(sql`clock_timestamp()`),
    // Since when it has not been closed; null while it is.
    awaySince: moment("away_since"),
    reason: text("reason"),
    // Not before this time is it tried again; null while it is not open, or held open by a person without an end.
    nextProbeAt: moment("next_probe_at"),
    failedProbes: integer("failed_probes").notNull().default(0),
    // The account whose head is the probe.
    probeAccount: byteOrderedText("probe_account"),
    // Whether a person opened it: then nobody else closes it before its time.
    byHand: boolean("by_hand").notNull().default(false),
    // Accounts woken since it was closed.
    woken: bigint("woken", { mode: "number" }).notNull().default(0),
    // Since when attempts fail, while it is closed.
    suspectedSince: moment("suspected_since"),
    suspectedAt: moment("suspected_at"),
  },
  (t) => [
    primaryKey({ name: "targets_pk", columns: [t.name] }),
    check("targets_state_known", sql`state in (${oneOf(TARGET_STATES)})`),
    check("targets_away_has_since", sql`(state = 'closed') = (away_since is null)`),
    check("targets_half_open_has_probe", sql`(state = 'half-open') = (probe_account is not null)`),
  ],
);

/** How the attempts of one worker went within the window, for each target that is suspected: together they show an outage. */
export const targetAttempts = inturn.table(
  "target_attempts",
  {
    target: byteOrderedText("target").notNull(),
    workerId: uuid("worker_id").notNull(),
    at: moment("at").notNull().default(sql`clock_timestamp()`),
    attempts: integer("attempts").notNull(),
    failed: integer("failed").notNull(),
    // Accounts whose attempts failed; not more than it takes to conclude something.
    failedAccounts: text("failed_accounts").array().notNull(),
  },
  (t) => [primaryKey({ name: "target_attempts_pk", columns: [t.target, t.workerId] })],
);
