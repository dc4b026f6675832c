/**
 * The states of an account, a closed union:
 *
 * ```text
 *            append                claim                 settle, nothing left
 *   idle ──────────────▶ scheduled ──────────▶ running ───────────────────────▶ idle
 *                           ▲  ▲                │ │ │
 *                           │  └────────────────┘ │ │  yield, give back, takeover
 *                           │                     │ │
 *                           │      time has come  ▼ │  the handler failed
 *                           └──────────────── retrying
 * ```
 *
 * `idle`: every event is settled. `scheduled`: events wait and a wake-up job is on its way. `running`: one worker holds
 * the lease. `retrying`: the head failed and waits for its next attempt; the events behind it wait with it.
 */
export const ACCOUNT_STATES = ["idle", "scheduled", "running", "retrying"] as const;

/** One of {@link ACCOUNT_STATES}. */
export type AccountState = (typeof ACCOUNT_STATES)[number];

/** How an event was settled. An event without an outcome has not been settled yet. */
export const OUTCOMES = ["processed"] as const;
