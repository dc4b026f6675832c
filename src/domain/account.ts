/**
 * The states of an account, a closed union:
 *
 * ```text
 *            append                claim                 settle, nothing left
 *   idle ──────────────▶ scheduled ──────────▶ running ───────────────────────▶ idle
 *                         ▲  ▲  ▲               │ │ │ │
 *                         │  │  └───────────────┘ │ │ │  yield, give back, takeover
 *                         │  │  time has come     ▼ │ │
 *                         │  └──────────── retrying │ │  the handler failed, or the worker died again and again
 *                         │    retry, skip, redrive ▼ │
 *                         ├────────────────── blocked ◀  its attempts are used up
 *                         └────────────────── waiting ◀  the target of its head is away
 * ```
 *
 * `idle`: every event is settled. `scheduled`: events wait and a wake-up job is on its way. `running`: one worker holds
 * the lease. `retrying`: the head failed and waits for its next attempt; the events behind it wait with it. `blocked`:
 * the head is given up for now and waits for a person, or, parked, for a time to pass. `waiting`: the outside system that the
 * head needs is away; when that is back, the account is woken.
 *
 * Beside its state an account can be paused: then nobody claims it, whatever its state, until it is resumed.
 */
export const ACCOUNT_STATES = ["idle", "scheduled", "running", "retrying", "blocked", "waiting"] as const;

/** One of {@link ACCOUNT_STATES}. */
export type AccountState = (typeof ACCOUNT_STATES)[number];

/**
 * How an event was settled: its handler was done with it, it was set aside as a dead letter, or a person skipped it.
 * An event without an outcome has not been settled yet.
 */
export const OUTCOMES = ["processed", "dead", "skipped"] as const;

/** One of {@link OUTCOMES}. */
export type Outcome = (typeof OUTCOMES)[number];

/** What an operator may do with an account. */
export const VERBS = ["pause", "resume", "retry", "skip", "redrive", "replay"] as const;

/** One of {@link VERBS}. */
export type Verb = (typeof VERBS)[number];

/** What the views call an account's state. */
export type ShownState = AccountState | "paused";
