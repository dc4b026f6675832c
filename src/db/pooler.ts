/**
 * Poolers between us and PostgreSQL: they refuse the settings with which our sessions begin, or throw them away, and some give one
 * session to several clients. Leases, notifications and prepared statements need sessions of their own, with our settings.
 */
import { InturnError } from "../errors/error.ts";
import type { Queryable } from "./pool.ts";

/** A setting that means nothing: a session that lacks it lacks those that mean something, too. */
export const MARK: Readonly<Record<string, string>> = { "inturn.arrived": "on" };

/** Whether a session has the mark, in SQL. */
export const HAS_MARK = "current_setting('inturn.arrived', true) is not distinct from 'on'";

/** Whether a pooler has refused what a session begins with. It has no code of its own for this: 08P01 is any breach of the protocol. */
export function isRefusedByPooler(error: unknown): boolean {
  return error instanceof Error && /unsupported startup parameter/i.test(error.message);
}

/** @param said what the pooler said, if it has */
export function poolerError(said?: string): InturnError {
  const how = said === undefined ? "throws away the settings of our sessions" : `refuses them: ${said}`;
  return new InturnError(
    "pooler_in_between",
    `A pooler stands in front of the database and ${how}. Set INTURN_DIRECT_DATABASE_URL to PostgreSQL itself.`,
  );
}

/** @throws InturnError `pooler_in_between` when a session that was opened with the mark lacks it */
export async function requireMark(session: Queryable): Promise<void> {
  const { rows } = await session.query<{ arrived: boolean }>(`select ${HAS_MARK} as arrived`);
  if (rows[0]?.arrived !== true) throw poolerError();
}
