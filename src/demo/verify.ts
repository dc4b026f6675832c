import type { Database } from "../db/pool.ts";
import { countOrderViolations, listOrderViolations, type OrderViolation, readRunSummary } from "../db/results.ts";
import { checkTags, countEvents, type EventCounts } from "../db/verify.ts";
import { LOAD_EVENT_TYPE } from "./load.ts";

/**
 * What the views say about the promise. `lost`, `duplicates`, `orderViolations` and `overlaps` must be 0. An event is
 * `processed`, `pending`, `dead` or `skipped`. One that was `redelivered` failed before, or its worker crashed.
 */
export interface Verification extends EventCounts {
  readonly accounts: number;
  readonly events: number;
  readonly processed: number;
  /** Seqs that are missing, and numbers of the load generator that never arrived. */
  readonly lost: number;
  /** Events of the load generator that are stored twice. */
  readonly duplicates: number;
  /** Events settled out of order, or stored in another order than they were sent. */
  readonly orderViolations: number;
  /** Events that started before their predecessor was settled. */
  readonly overlaps: number;
  /** The first breaches, for a person to look at. */
  readonly examples: readonly OrderViolation[];
}

const EXAMPLES_MAX = 10;

/** Checks everything stored against the promise, from the public views alone. */
export async function verify(database: Database): Promise<Verification> {
  const summary = await readRunSummary(database);
  const violations = await countOrderViolations(database);
  const tags = await checkTags(database, LOAD_EVENT_TYPE);
  return {
    accounts: summary.accounts,
    events: summary.events,
    processed: summary.processed,
    ...(await countEvents(database)),
    lost: (violations.get("gap") ?? 0) + tags.missing,
    duplicates: tags.repeated,
    orderViolations: (violations.get("settled_out_of_order") ?? 0) + tags.disordered,
    overlaps: violations.get("overlap") ?? 0,
    examples: violations.size === 0 ? [] : await listOrderViolations(database, EXAMPLES_MAX),
  };
}

/** Whether the promise was kept. */
export function isKept(verification: Verification): boolean {
  const { lost, duplicates, orderViolations, overlaps } = verification;
  return lost + duplicates + orderViolations + overlaps === 0;
}

/** What all cells say together. An account is in one of them, so nothing is counted twice. */
export function addUp(found: readonly [Verification, ...Verification[]]): Verification {
  const [first, ...others] = found;
  return others.reduce((sum, next) => {
    const counts = Object.entries(next).filter(([, value]) => typeof value === "number");
    const added = counts.map(([key, value]) => [key, Number(sum[key as keyof Verification]) + Number(value)]);
    return { ...sum, ...Object.fromEntries(added), examples: [...sum.examples, ...next.examples] } as Verification;
  }, first);
}
