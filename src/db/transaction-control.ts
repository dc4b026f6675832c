/**
 * Which statements would end a transaction or begin another one, as far as their first words tell. What hides behind
 * another statement, or in a text that this does not understand, is noticed before the settle counts (see transaction.ts).
 */

/** `begin`, `commit` and `rollback` say nothing more and have a like among the savepoints; `other` has none. */
export type TransactionControl = "begin" | "commit" | "rollback" | "other";

/** White space, comments and empty statements in front of the first word. */
const PREAMBLE = /^(?:\s|;|--[^\n]*(?:\n|$)|\/\*[^]*?\*\/)*/;

/** `rollback to` a savepoint stays inside the transaction. */
const CONTROL =
  /^(begin|start\s+transaction|commit|end|rollback|abort|prepare\s+transaction)\b(?!\s+(?:(?:work|transaction)\s+)?to\b)/i;

/** What may follow where nothing more is said. */
const PLAIN_END = /^(?:\s+(?:work|transaction))?\s*;?\s*$/i;

const PLAIN: Readonly<Record<string, TransactionControl>> = {
  begin: "begin",
  start: "begin",
  commit: "commit",
  end: "commit",
  rollback: "rollback",
  abort: "rollback",
};

/** What a statement does to its transaction; undefined when it seems to leave it alone. */
export function readTransactionControl(text: string): TransactionControl | undefined {
  const statement = text.replace(PREAMBLE, "");
  const [found, words = ""] = CONTROL.exec(statement) ?? [];
  if (found === undefined) return undefined;
  if (!PLAIN_END.test(statement.slice(found.length))) return "other";
  return PLAIN[words.split(/\s/, 1)[0]?.toLowerCase() ?? ""] ?? "other";
}
