/**
 * Pauses of more than one account: of everything, of a type, of an id prefix. While one stands, no event that it covers starts,
 * also of accounts that come later.
 *
 * Each worker knows the list of pauses and looks at it before every event. The list has a version, and the workers say with their
 * renewals which one they go by. A worker that has not renewed for `trustedMs` (see lease-times.ts) starts nothing before it
 * has, and so hears of the list first.
 */

/** What a pause may be of. */
export const PAUSE_COVERS = ["all", "type", "prefix"] as const;

/** What a pause is of. */
export interface Covered {
  readonly covers: (typeof PAUSE_COVERS)[number];
  /** The type, where a `*` at its end stands for any end, or what the account ids begin with; empty for everything. */
  readonly value: string;
}

/** A pause as the workers know it. */
export interface Pause extends Covered {
  readonly id: number;
  /** How many events a second may start while it ends little by little; null while none may. */
  readonly rate: number | null;
  /** When it ends by itself; null for when a person says so. */
  readonly until: string | null;
}

/** Characters of a type or of a prefix. */
export const PAUSE_VALUE_MAX = 255;

/** The most events a second that a rate may say. */
export const PAUSE_RATE_MAX = 10_000;

/** Whether a pause covers the events of this type in this account. */
export function covers({ covers: what, value }: Covered, accountId: string, type: string | null): boolean {
  switch (what) {
    case "all":
      return true;
    case "prefix":
      return accountId.startsWith(value);
    case "type":
      return type !== null && (value.endsWith("*") ? type.startsWith(value.slice(0, -1)) : type === value);
  }
}

/** What a pause is of, in words. */
export function nameOf({ covers: what, value }: Covered): string {
  return what === "all" ? "everything" : `${what} ${value}`;
}
