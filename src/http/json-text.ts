/**
 * JSON as text. `JSON.parse` says whether a document is valid; what is stored is the sender's own text, cut out of the
 * document, so that every digit, space and escape comes back as it was sent.
 */
import { type Fault, InturnError } from "../errors/error.ts";

/** An escape that might spell a NUL or half a surrogate pair, or an exponent of four digits. */
const DELICATE = /\\u(?:0000|[dD][89a-fA-F])|[eE][+-]?\d{4}/;

/** Digits of a number: PostgreSQL's numeric holds more, so whoever casts the data meets no surprise. */
const NUMBER_DIGITS_MAX = 5_000;

/** Largest exponent of a number, either way. */
const EXPONENT_MAX = 999;

/** Faults that are listed before the search ends. */
const FAULTS_MAX = 20;

const QUOTE = 34;
const BACKSLASH = 92;
const OPEN_BRACE = 123;
const CLOSE_BRACE = 125;
const OPEN_BRACKET = 91;
const CLOSE_BRACKET = 93;
const COMMA = 44;
const COLON = 58;

/** A value cut out of a document. */
export interface Slice {
  readonly text: string;
  /** Levels of arrays and objects in it. */
  readonly depth: number;
}

/**
 * Parses a document, for looking at it; numbers are doubles.
 *
 * @throws InturnError `json_malformed`, or `event_invalid` with the pointers to what PostgreSQL cannot hold
 */
export function parseJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    // Only the parser's recursion can overflow here.
    if (cause instanceof RangeError) throw unstorable([{ where: "", message: "is nested too deep" }]);
    throw new InturnError("json_malformed", "The body is not JSON.", { cause });
  }
  if (DELICATE.test(text) || text.length > NUMBER_DIGITS_MAX) {
    const faults = DELICATE.test(text) || hasLongNumber(text) ? findUnstorable(text) : [];
    if (faults.length > 0) throw unstorable(faults);
  }
  return value;
}

/**
 * Cuts one member's value out of an object, or out of each object of an array; undefined where it is missing. Of a
 * repeated member the last one counts, as for `JSON.parse`.
 *
 * @param text valid JSON
 */
export function sliceMember(text: string, member: string): (Slice | undefined)[] {
  const scanner = new Scanner(text);
  if (scanner.peek() !== OPEN_BRACKET) return [scanner.takeMember(member)];
  const slices: (Slice | undefined)[] = [];
  scanner.skip();
  while (scanner.peek() !== CLOSE_BRACKET) {
    slices.push(scanner.takeMember(member));
    if (scanner.peek() === COMMA) scanner.skip();
  }
  return slices;
}

function unstorable(faults: readonly Fault[]): InturnError {
  return new InturnError("event_invalid", "The JSON holds something that cannot be stored; nothing was stored.", {
    faults,
  });
}

/** Moves over valid JSON without making values of it. */
class Scanner {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** The next character that is no white space. */
  peek(): number {
    let code = this.#text.charCodeAt(this.#at);
    while (code <= 32) code = this.#text.charCodeAt(++this.#at);
    return code;
  }

  skip(): void {
    this.#at += 1;
  }

  /** Moves over a value; when it is an object, its member is cut out. */
  takeMember(member: string): Slice | undefined {
    if (this.peek() !== OPEN_BRACE) {
      this.takeValue();
      return undefined;
    }
    let slice: Slice | undefined;
    this.skip();
    while (this.peek() !== CLOSE_BRACE) {
      const key = this.takeValue();
      if (this.peek() === COLON) this.skip();
      const value = this.takeValue();
      if (spells(key, member)) slice = { text: value, depth: this.#depth };
      if (this.peek() === COMMA) this.skip();
    }
    this.skip();
    return slice;
  }

  /** The text of the next value, white space around it left out. */
  takeValue(): string {
    const code = this.peek();
    const start = this.#at;
    this.#depth = 0;
    if (code === QUOTE) this.#skipString();
    else if (code === OPEN_BRACE || code === OPEN_BRACKET) this.#skipNested();
    else this.#skipWord();
    return this.#text.slice(start, this.#at);
  }

  #skipString(): void {
    let quote = this.#at;
    for (;;) {
      quote = this.#text.indexOf('"', quote + 1);
      let before = quote - 1;
      while (this.#text.charCodeAt(before) === BACKSLASH) before -= 1;
      // An even number of backslashes before it escapes each other, and not the quote.
      if ((quote - before) % 2 === 1) break;
    }
    this.#at = quote + 1;
  }

  #skipNested(): void {
    let open = 0;
    do {
      const code = this.#text.charCodeAt(this.#at);
      if (code === QUOTE) {
        this.#skipString();
        continue;
      }
      if (code === OPEN_BRACE || code === OPEN_BRACKET) {
        open += 1;
        if (open > this.#depth) this.#depth = open;
      } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) open -= 1;
      this.#at += 1;
    } while (open > 0);
  }

  #skipWord(): void {
    for (let code = 0; this.#at < this.#text.length; this.#at++) {
      code = this.#text.charCodeAt(this.#at);
      if (code <= 32 || code === COMMA || code === CLOSE_BRACE || code === CLOSE_BRACKET) return;
    }
  }
}

function spells(key: string, member: string): boolean {
  if (key.includes("\\")) return JSON.parse(key) === member;
  return key.length === member.length + 2 && key.startsWith(member, 1);
}

/** One pass, whatever the text: a run of digits is counted once. */
function hasLongNumber(text: string): boolean {
  let run = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    run = (code >= 48 && code <= 57) || code === 46 ? run + 1 : 0;
    if (run > NUMBER_DIGITS_MAX) return true;
  }
  return false;
}

/**
 * Goes through every string and number of valid JSON, also those under a key that comes again later, and tells with a JSON
 * pointer where PostgreSQL could not hold one.
 */
function findUnstorable(text: string): Fault[] {
  const faults: Fault[] = [];
  const scanner = new Scanner(text);
  const path: (string | number)[] = [];
  let expectsKey = false;
  for (let code = scanner.peek(); !Number.isNaN(code) && faults.length < FAULTS_MAX; code = scanner.peek()) {
    if (code === OPEN_BRACE || code === OPEN_BRACKET) path.push(code === OPEN_BRACE ? "" : 0);
    else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) path.pop();
    else if (code === COMMA) {
      const last = path.at(-1);
      if (typeof last === "number") path[path.length - 1] = last + 1;
    } else if (code !== COLON) {
      const token = scanner.takeValue();
      if (expectsKey) path[path.length - 1] = JSON.parse(token) as string;
      addFault(token, path, faults);
      expectsKey = false;
      continue;
    }
    expectsKey = code === OPEN_BRACE || (code === COMMA && typeof path.at(-1) === "string");
    scanner.skip();
  }
  return faults;
}

function addFault(token: string, path: readonly (string | number)[], faults: Fault[]): void {
  const message = token.startsWith('"') ? faultOfString(JSON.parse(token) as string) : faultOfNumber(token);
  if (message !== undefined) faults.push({ where: pointerTo(path), message });
}

/** The JSON pointer of a path. */
export function pointerTo(path: readonly PropertyKey[]): string {
  return path.map((step) => `/${String(step).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

function faultOfString(text: string): string | undefined {
  if (text.includes("\0")) return "contains a NUL character, which PostgreSQL cannot hold";
  return text.isWellFormed() ? undefined : "contains half of a surrogate pair, which is no character";
}

function faultOfNumber(token: string): string | undefined {
  const [mantissa = "", exponent = "0"] = token.split(/[eE]/);
  if (Math.abs(Number(exponent)) > EXPONENT_MAX) return `has an exponent beyond ±${EXPONENT_MAX}`;
  return mantissa.length > NUMBER_DIGITS_MAX ? `has more than ${NUMBER_DIGITS_MAX} digits` : undefined;
}
