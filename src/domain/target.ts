/**
 * Targets: the outside systems that handlers need. Each has a circuit breaker, shared by all workers:
 *
 * ```text
 *             too many attempts fail, or a handler says so          its time has come: one event is the probe
 *   closed ───────────────────────────────────────────────▶ open ────────────────────────────────────────────▶ half-open
 *     ▲                                                      ▲                                                  │  │
 *     │                                                      └──────────────────────────────────────────────────┘  │
 *     └────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
 *                                     the probe works                                     the probe fails
 * ```
 *
 * While a target is not closed, none of its events starts but the probe; accounts whose head needs it are `waiting`.
 */
export const TARGET_STATES = ["closed", "open", "half-open"] as const;

/** One of {@link TARGET_STATES}. */
export type TargetState = (typeof TARGET_STATES)[number];

/** The target of events whose type names none. */
export const DEFAULT_TARGET = "default";

/** Characters of a target's name. */
export const TARGET_NAME_MAX = 100;

/** When failures open a target without a handler's word. */
export interface TargetRule {
  /** Of fewer attempts within the window nothing is concluded. */
  readonly attemptsMin: number;
  /** The failures belong to at least so many accounts: one poisoned account is no outage. */
  readonly accountsMin: number;
  /** At least this share of the attempts failed. */
  readonly failedShare: number;
}

/** The rule of a target that the handler module says nothing of. */
export const TARGET_RULE: TargetRule = { attemptsMin: 20, accountsMin: 5, failedShare: 0.5 };

/** The least and the most that each whole number of a rule may be. */
export const TARGET_RULE_LIMITS = { attemptsMin: [1, 10_000], accountsMin: [2, 100] } as const;

/**
 * An event whose failures were forgiven in so many outages is at fault itself: its next ones count. Else a crowd of poisoned events
 * would open its target again and again, and none of them would ever block.
 */
export const OUTAGES_FORGIVEN_MAX = 10;

/** The attempts of this long are looked at. */
export const TARGET_WINDOW_MS = 10_000;

/** What an operator may do with a target. */
export const TARGET_VERBS = ["open", "close"] as const;

/** One of {@link TARGET_VERBS}. */
export type TargetVerb = (typeof TARGET_VERBS)[number];
