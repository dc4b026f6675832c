/**
 * The guard before every operation: who comes, whether they may, and how much.
 */
import type { Caller } from "../domain/access.ts";
import { reaches, SCOPES } from "../domain/access.ts";
import type { NewEvent } from "../domain/event.ts";
import type { AccessBook, Access as AccessToKeys } from "../engine/access.ts";
import { commandLine } from "../errors/command-line.ts";
import { type ErrorData, InturnError } from "../errors/error.ts";
import { countHeaders } from "./address.ts";
import type { RateLimits } from "./rate-limits.ts";
import type { Access, ApiContext } from "./route.ts";

/**
 * Who needs no key: nobody; whoever is on this machine, until there is a key; or everybody, because something before the guard says
 * who may come.
 */
export type OpenTo = "nobody" | "this machine" | "everybody";

/** What the guard stands on. */
export interface GuardOptions {
  readonly access: AccessToKeys;
  readonly openTo: OpenTo;
}

/**
 * Lets a request pass, with `caller` set, or throws.
 *
 * @param signedIn the key of who signed in with a browser; pages take it instead of the header
 */
export type Guard = (c: ApiContext, access: Access, signedIn?: string) => Promise<void> | undefined;

/** Who comes without a key, where none is needed. */
const ANYBODY: Caller = { keyId: null, name: "http", scopes: SCOPES, accountPrefix: "", eventsPerSecond: null };

/**
 * Creates the guard that stands before every operation.
 *
 * It throws InturnError `key_missing`, `key_invalid`, `scope_missing` or `host_refused`
 */
export function createGuard(options: GuardOptions): Guard {
  return (c, access, signedIn) => {
    // Who signs is judged when the body is there.
    if (access === "open" || access === "signed") return undefined;
    if (options.openTo === "everybody") {
      c.set("caller", ANYBODY);
      return undefined;
    }
    const pass = (book: AccessBook) => {
      const caller =
        options.openTo === "this machine" && book.isEmpty ? admitLocal(c) : requireCaller(c, book, signedIn);
      if (!caller.scopes.includes(access)) {
        throw new InturnError("scope_missing", `This key lacks the scope ${access}.`, { data: { scope: access } });
      }
      c.set("caller", caller);
    };
    const book = options.access();
    if (book instanceof Promise) return book.then(pass);
    pass(book);
    return undefined;
  };
}

/** An address without a public name in it: a single word, a number, or something under localhost. */
const LOCAL_ADDRESS = /^https?:\/\/(?:[^./:[\]]+|[\d.]+|\[[\da-f:.]+\]|[^/:]+\.localhost)(?::\d+)?\//i;

/** What proxies add: a caller who comes through one only looks as if they were on this machine. */
const PROXY_HEADERS = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/** A public name that somebody made point here would let the web page under it in. */
function admitLocal(c: ApiContext): Caller {
  if (PROXY_HEADERS.some((name) => c.req.header(name) !== undefined)) {
    throw new InturnError(
      "host_refused",
      `This request came through a proxy, and others may be behind it. Create a key: ${commandLine("keys", "create --name …")}`,
    );
  }
  if (LOCAL_ADDRESS.test(c.req.url)) return ANYBODY;
  throw new InturnError(
    "host_refused",
    `Without API keys this server answers to local names only. Create a key: ${commandLine("keys", "create --name …")}`,
  );
}

const INVALID = "This key is not valid.";

function requireCaller(c: ApiContext, book: AccessBook, signedIn: string | undefined): Caller {
  const header = c.req.header("authorization") ?? (signedIn === undefined ? undefined : `Bearer ${signedIn}`);
  if (header === undefined) {
    throw new InturnError("key_missing", "Send an API key: Authorization: Bearer itn_…");
  }
  // Of two keys nobody knows which one is meant.
  const key = countHeaders(c, "authorization") > 1 ? undefined : readKey(header);
  const caller = key === undefined ? undefined : book.callerOf(key);
  if (caller === undefined) throw new InturnError("key_invalid", INVALID);
  return caller;
}

/** A bearer's key, or the password of `curl --user`. */
function readKey(header: string): string | undefined {
  const [, bearer, basic] = /^(?:bearer ([\x21-\x7e]+)|basic ([a-z0-9+/=]+))$/i.exec(header) ?? [];
  if (bearer !== undefined) return bearer;
  return basic === undefined ? undefined : /^[^:]*:(.+)$/s.exec(Buffer.from(basic, "base64").toString())?.[1];
}

/** @throws InturnError `account_not_found` when the caller's key does not reach the account, whether it exists or not */
export function requireReach(c: ApiContext, accountId: string): void {
  if (!reaches(c.get("caller"), accountId)) throw accountNotFound(accountId);
}

/** Characters of an id that an answer repeats. */
const SHOWN_LENGTH_MAX = 250;

/** The error for an account that is not there, or not for this caller. */
export function accountNotFound(accountId: string, data: ErrorData = {}): InturnError {
  const shown = JSON.stringify(accountId.slice(0, SHOWN_LENGTH_MAX));
  return new InturnError("account_not_found", `There is no account ${shown}: it never had an event.`, { data });
}

/**
 * Whether the caller may store these events now.
 *
 * @throws InturnError `account_not_found`, with `data.index` of the event at fault, or `rate_exceeded`
 */
export function admit(c: ApiContext, events: readonly NewEvent[], rates: RateLimits): Promise<void> | undefined {
  const caller = c.get("caller");
  if (caller.accountPrefix !== "") {
    const index = events.findIndex((event) => !reaches(caller, event.accountId));
    if (index >= 0) throw accountNotFound(events[index]?.accountId ?? "", { index });
  }
  return caller.eventsPerSecond === null ? undefined : rates.consume(c, caller, events.length);
}

/**
 * For what concerns all accounts.
 *
 * @throws InturnError `scope_missing` with this message when the caller's key reaches only some
 */
export function requireAllAccounts(c: ApiContext, message: string): void {
  if (c.get("caller").accountPrefix !== "") throw new InturnError("scope_missing", message);
}
