/**
 * What a database error means to us, decided by SQLSTATE or system code and never by its text.
 */

/**
 * Classes and codes that say "not now": connection trouble (08), out of resources (53), operator intervention (57P), a
 * time-out (57014, 55P03), a deadlock or serialization failure (40), a server that only reads (25006).
 */
const UNAVAILABLE_SQLSTATE = /^(08|53|57P|57014|55P03|40|25006)/;
const UNAVAILABLE_SYSTEM = new Set([
  "ENOTFOUND",
  "EAI_AGAIN",
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "ENOENT",
  "EHOSTUNREACH",
  "EHOSTDOWN",
  "ENETUNREACH",
  "ENETDOWN",
]);

/** pg rejects with these plain errors, without a code, when a connection ends or cannot be had in time. */
const UNAVAILABLE_PG = new Set([
  "Connection terminated",
  "Connection terminated unexpectedly",
  "Connection terminated due to connection timeout",
  "timeout exceeded when trying to connect",
  "timeout expired",
  "Client has encountered a connection error and is not queryable",
  "Query read timeout",
]);

/** The SQLSTATE or system code of an error, or of what caused it (drizzle wraps what the database said). */
export function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as { code?: unknown };
  return typeof code === "string" ? code : codeOf(error.cause);
}

/** Whether the same request may succeed once the database is back. */
export function isUnavailable(error: unknown): boolean {
  const code = codeOf(error);
  if (code !== undefined) return UNAVAILABLE_SQLSTATE.test(code) || UNAVAILABLE_SYSTEM.has(code);
  return error instanceof Error && (UNAVAILABLE_PG.has(error.message) || isUnavailable(error.cause));
}

/** Whether a row was locked by somebody else for too long (55P03), or two transactions waited for each other (40P01). */
export function isLocked(error: unknown): boolean {
  return /^(55P03|40P01)$/.test(codeOf(error) ?? "");
}

/** Whether the database has no disk space, memory or connections left (class 53). */
export function isOutOfResources(error: unknown): boolean {
  return codeOf(error)?.startsWith("53") === true;
}

/** Whether the database, or the session, may only read. */
export function isReadOnly(error: unknown): boolean {
  return codeOf(error) === "25006";
}

/** Whether our tables, or parts of them, are missing. */
export function isNotMigrated(error: unknown): boolean {
  return /^(3F000|42P01|42883|42703)$/.test(codeOf(error) ?? "");
}

/** Whether the values themselves are at fault: bad data (22), a constraint (23), or a limit of PostgreSQL (54). */
export function isBadData(error: unknown): boolean {
  return /^(22|23|54)/.test(codeOf(error) ?? "");
}

/** Whether the role may not do this (42501). */
export function isForbidden(error: unknown): boolean {
  return codeOf(error) === "42501";
}
