/** What a check of `doctor` is. */
import type pg from "pg";

/** `problem`: events are lost, or nothing works. `warning`: it works, and will not for long, or not well. */
type Level = "ok" | "warning" | "problem";

/** What was found of one thing. */
export interface Finding {
  /** Its stable name. */
  readonly check: string;
  readonly level: Level;
  readonly found: string;
  /** What to do; null when all is well. */
  readonly advice: string | null;
}

/** What an answer means. */
export type Verdict = Omit<Finding, "check">;

/** What the checks are told of this deployment. */
export interface Needs {
  /** Connections of one worker at most. */
  readonly workerConnections: number;
  /** Of one API process. */
  readonly apiConnections: number;
  /** A snapshot that is kept for longer is told of. */
  readonly snapshotSecondsMax: number;
  /** This machine's clock, in ms since 1970, when it is called. */
  readonly nowMs: () => number;
}

/** One thing to look at. */
export interface Check {
  readonly check: string;
  readonly look: (client: pg.Client, needs: Needs) => Promise<Verdict>;
}

/** All is well. */
export function ok(found: string): Verdict {
  return { level: "ok", found, advice: null };
}

/** The one row of a query. */
export async function readRow<Row extends pg.QueryResultRow>(
  client: pg.Client,
  text: string,
  values: readonly unknown[] = [],
): Promise<Row> {
  const { rows } = await client.query<Row>(text, [...values]);
  const [row] = rows;
  if (row === undefined) throw new Error("the query gave no row");
  return row;
}
