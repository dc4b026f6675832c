import type { Bench } from "./bench.ts";

/** One fault, and what must hold while it is made and after it is healed. */
export interface Scenario {
  readonly name: string;
  /** Its number in the list of faults. */
  readonly fault: number;
  /** What is expected, in a few words. */
  readonly promise: string;
  /** Whether it starts from a database that is not migrated. */
  readonly startsEmpty?: boolean;
  /** Why it cannot be run here; undefined when it can. */
  readonly whyNot?: () => Promise<string | undefined>;
  /** Starts the parts and the traffic, and makes the fault. Healing, draining and judging come after it. */
  run(bench: Bench): Promise<void>;
}

/** Account names: a, b, c, … with a number. */
export function accountsNamed(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i + 1}`);
}
