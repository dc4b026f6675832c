/**
 * One worker's exclusive right to an account, as its claim gave it.
 */
export interface Lease {
  readonly accountId: string;
  /** The fencing token: every later write of the turn names it, and lands only while it is still the account's epoch. */
  readonly epoch: number;
  /** Everything up to this seq was settled when the lease began. */
  readonly processedSeq: number;
  /** How often the head has been started, this time included. */
  readonly attempt: number;
  /** How many of those attempts no longer count, since a person said `retry`. */
  readonly attemptsForgiven: number;
}

/** The key under which the outside world can recognise an event it has seen before: the same at every attempt. */
export function idempotencyKeyOf(event: { accountId: string; seq: number }): string {
  return `${event.accountId}/${event.seq}`;
}
