/**
 * JSON in, without loss. `JSON.parse` alone would change numbers that a double cannot hold and let through characters
 * that PostgreSQL cannot hold.
 */
import { type Fault, InturnError } from "../errors/error.ts";

/** Deeper nesting than this is refused: the limits of parsers further down the road are unknown. */
const JSON_DEPTH_MAX = 100;

const TOO_DEEP = `is nested deeper than ${JSON_DEPTH_MAX} levels`;

/** Any number that might not survive as a double: many digits, an exponent, or a minus zero. May also match inside a string. */
const DELICATE_NUMBER = /[\d.]{16}|\d[eE]|-0/;

/** An escape that might spell a NUL or half a surrogate pair. */
const DELICATE_ESCAPE = /\\u(?:0000|[dD][89a-fA-F])/;

/**
 * Parses a JSON text so that `JSON.stringify` gives every number back as it was written.
 *
 * @throws InturnError `json_malformed`, or `event_invalid` for what PostgreSQL cannot hold, with the places
 */
export function parseExactJson(text: string): unknown {
  const value = parse(text);
  const faults: Fault[] = [];
  findUnstorable(value, "", 0, faults, DELICATE_ESCAPE.test(text));
  if (faults.length > 0)
    throw new InturnError("event_invalid", "The JSON holds something that cannot be stored; nothing was stored.", {
      faults,
    });
  return value;
}

function parse(text: string): unknown {
  try {
    return DELICATE_NUMBER.test(text)
      ? JSON.parse(text, keepNumberText as Parameters<typeof JSON.parse>[1])
      : JSON.parse(text);
  } catch (cause) {
    // Only the parser's recursion can overflow here.
    if (cause instanceof RangeError)
      throw new InturnError("event_invalid", `The JSON ${TOO_DEEP}; nothing was stored.`, {
        faults: [{ where: "", message: TOO_DEEP }],
      });
    throw new InturnError(
      "json_malformed",
      `The body is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
}

/** A reviver: a number that a double would change stays the text that it was. */
function keepNumberText(_key: string, value: unknown, context: { source?: string }): unknown {
  const { source } = context;
  if (typeof value !== "number" || source === undefined || JSON.stringify(value) === source) return value;
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(source);
}

/** Faults that are listed before the search ends. */
const FAULTS_MAX = 20;

function findUnstorable(value: unknown, pointer: string, depth: number, faults: Fault[], checkStrings: boolean): void {
  if (faults.length >= FAULTS_MAX) return;
  if (checkStrings && typeof value === "string") return addStringFault(value, pointer, faults);
  if (typeof value !== "object" || value === null) return;
  if (depth >= JSON_DEPTH_MAX) {
    faults.push({ where: pointer, message: TOO_DEEP });
    return;
  }
  for (const [key, inner] of Object.entries(value)) {
    const at = `${pointer}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
    if (checkStrings) addStringFault(key, at, faults);
    findUnstorable(inner, at, depth + 1, faults, checkStrings);
  }
}

function addStringFault(text: string, where: string, faults: Fault[]): void {
  if (text.includes("\0")) faults.push({ where, message: "contains a NUL character, which PostgreSQL cannot hold" });
  else if (!text.isWellFormed())
    faults.push({ where, message: "contains half of a surrogate pair, which is no character" });
}
