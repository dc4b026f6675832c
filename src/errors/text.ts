/** Characters of an error that are logged and kept: a handler may throw a whole document. */
const ERROR_LENGTH_MAX = 2_000;

/**
 * What was thrown, as text that PostgreSQL can hold. It may have been anything, even what cannot be turned into text.
 */
export function textOf(thrown: unknown): string {
  try {
    const text = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
    return text.slice(0, ERROR_LENGTH_MAX).replaceAll("\0", "�").toWellFormed();
  } catch {
    return "something was thrown that cannot be turned into text";
  }
}
