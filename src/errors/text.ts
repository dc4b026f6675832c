/** Characters of an error that are logged and kept: a handler may throw a whole document. */
const ERROR_LENGTH_MAX = 2_000;

/** How deep the causes of an error are followed, and how many of each. */
const CAUSES = { depth: 4, each: 3 };

/**
 * What was thrown, as text that PostgreSQL can hold: with its code and its causes, which often say what its message does not. It
 * may have been anything, even what cannot be turned into text.
 */
export function textOf(thrown: unknown): string {
  try {
    return describe(thrown, CAUSES.depth).slice(0, ERROR_LENGTH_MAX).replaceAll("\0", "�").toWellFormed();
  } catch {
    return "something was thrown that cannot be turned into text";
  }
}

function describe(thrown: unknown, depth: number): string {
  if (!(thrown instanceof Error)) return describeValue(thrown);
  const { code, errors, cause } = thrown as { code?: unknown; errors?: unknown; cause?: unknown };
  const said = thrown.message === "" ? thrown.name : `${thrown.name}: ${thrown.message}`;
  const own = typeof code === "string" && !said.includes(code) ? `${said} [${code}]` : said;
  const causes = [...(Array.isArray(errors) ? (errors as unknown[]) : []), ...(cause === undefined ? [] : [cause])];
  if (causes.length === 0 || depth === 0) return own;
  const reasons = causes.slice(0, CAUSES.each).map((each) => describe(each, depth - 1));
  return `${own}; caused by ${reasons.join(" and ")}`;
}

function describeValue(thrown: unknown): string {
  const isPlain = typeof thrown === "object" && thrown !== null && Object.getPrototypeOf(thrown) === Object.prototype;
  const json = isPlain ? JSON.stringify(thrown) : "{}";
  return json === "{}" ? String(thrown) : json;
}
