/** After this many events a turn may be asked to make room. */
export const TURN_EVENTS_MAX = 100;

/** After this long a turn may be asked to make room. */
export const TURN_MS_MAX = 1_000;

/** How far a turn has come, and whether others wait for its slot. */
export interface TurnProgress {
  readonly events: number;
  readonly elapsedMs: number;
  /** Every slot of the worker is taken, so an account without one has to wait. */
  readonly crowded: boolean;
  /** The worker is shutting down. */
  readonly stopping: boolean;
}

/**
 * Whether a turn gives its account back after the event it is settling: when the worker stops, or when it has had its
 * share while every slot is taken. An account that no other waits for keeps its turn: giving it back costs a claim.
 */
export function shouldYield(turn: TurnProgress): boolean {
  if (turn.stopping) return true;
  return turn.crowded && (turn.events >= TURN_EVENTS_MAX || turn.elapsedMs >= TURN_MS_MAX);
}
