/** What an API key may be allowed to do: send events, read, or carry out the operator's verbs. */
export const SCOPES = ["ingest", "read", "operate"] as const;

/** One of {@link SCOPES}. */
export type Scope = (typeof SCOPES)[number];

/** Who sends a request, and what they may do. */
export interface Caller {
  /** The key's id; null where no key is needed. */
  readonly keyId: string | null;
  /** What is recorded of them: the key's name. */
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Only accounts whose id begins with this; empty for all. */
  readonly accountPrefix: string;
  /** Their share; null without a limit. */
  readonly eventsPerSecond: number | null;
}

/** Whose share of the memory a caller's requests take: that of the key, or of all who come without one. */
export function senderOf(caller: Caller): string {
  return caller.keyId ?? caller.name;
}

/** Whether the caller's key reaches this account. What it does not reach does not exist for them. */
export function reaches(caller: Caller, accountId: string): boolean {
  return accountId.startsWith(caller.accountPrefix);
}
