/**
 * Access: API keys and the sources of signed webhooks, kept in memory so that no request waits for the database.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { readApiKeys } from "../db/api-keys.ts";
import type { Database } from "../db/pool.ts";
import { readSources, type Source } from "../db/sources.ts";
import { type Caller, SCOPES } from "../domain/access.ts";

/** What is known about keys and sources at a moment. */
export interface AccessBook {
  /** Whether there is no key at all, and never was one. Throws, like the others, while the database cannot tell. */
  readonly isEmpty: boolean;
  /** The key's entry; undefined when it is unknown or revoked. Takes the same time either way. */
  callerOf(key: string): Caller | undefined;
  /** A source, with its secrets. */
  sourceOf(name: string): (Source & { readonly secrets: readonly string[] }) | undefined;
}

/** Gives the book; a promise only when what is known is too old. */
export type Access = () => AccessBook | Promise<AccessBook>;

/** What is known is read again after this long: a revoked key is refused within about this time. */
const BOOK_AGE_MS_MAX = 1_000;

/** When the database has not answered for this long, requests continue with the keys that were read last. */
const PATIENCE_MS = 200;

/** But not for longer than this. */
const OLD_BOOK_AGE_MS_MAX = 60_000;

/** What a key begins with, so that people and scanners of secrets know it. */
const KEY_PREFIX = "itn";

/** What an unknown key is compared with: the hash of no key. */
const NOBODY = Buffer.alloc(32);

/** Makes a key. The key itself is shown once; what is kept are its id and its hash. */
export function createKey(): { id: string; key: string; hash: string } {
  const id = randomBytes(6).toString("hex");
  const key = `${KEY_PREFIX}_${id}_${randomBytes(32).toString("hex")}`;
  return { id, key, hash: hashOf(key).toString("hex") };
}

/** Makes a secret for signing webhooks, in the form that Standard Webhooks gives it. */
export function createWebhookSecret(): string {
  return `whsec_${randomBytes(32).toString("base64")}`;
}

/**
 * Creates the access to keys and sources.
 *
 * What was known a minute ago is still known while the database is away, and so are keys of the environment; for others the
 * error of the database is thrown.
 *
 * @param options.environmentKeys keys that may do everything
 */
export function createAccess(options: { database: Database; environmentKeys: readonly string[] }): Access {
  const { database, environmentKeys } = options;
  const ofEnvironment = environmentKeys.map(hashOf);
  let book: AccessBook | undefined;
  let readMs = 0;
  let reading: { readonly book: Promise<AccessBook>; readonly sinceMs: number } | undefined;
  const knownFor = (ms: number) => (performance.now() - readMs < ms ? book : undefined);
  const read = async () => {
    try {
      const [keys, sources] = [await readApiKeys(database), await readSources(database)];
      book = createBook(keys, sources, ofEnvironment);
      readMs = performance.now();
      return book;
    } catch (error) {
      return knownFor(OLD_BOOK_AGE_MS_MAX) ?? createBookOfEnvironment(ofEnvironment, error);
    } finally {
      reading = undefined;
    }
  };
  return () => {
    const known = knownFor(BOOK_AGE_MS_MAX);
    if (known !== undefined) return known;
    reading ??= { book: read(), sinceMs: performance.now() };
    const old = knownFor(OLD_BOOK_AGE_MS_MAX);
    if (old === undefined) return reading.book;
    const patienceMs = PATIENCE_MS - (performance.now() - reading.sinceMs);
    return patienceMs <= 0 ? old : Promise.race([reading.book, sleep(patienceMs, old)]);
  };
}

function createBook(
  keys: Awaited<ReturnType<typeof readApiKeys>>,
  sources: Awaited<ReturnType<typeof readSources>>,
  ofEnvironment: readonly Buffer[],
): AccessBook {
  const live = keys.filter((key) => key.revokedAt === null);
  const byId = new Map(live.map((key) => [key.id, { hash: Buffer.from(key.hash, "hex"), caller: toCaller(key) }]));
  const byName = new Map(sources.map((source) => [source.name, source]));
  return {
    isEmpty: keys.length === 0 && ofEnvironment.length === 0,
    callerOf(key) {
      const hash = hashOf(key);
      const known = byId.get(key.split("_")[1] ?? "");
      const isKnown = timingSafeEqual(hash, known?.hash ?? NOBODY);
      return isKnown ? known?.caller : callerOfEnvironment(hash, ofEnvironment);
    },
    sourceOf: (name) => byName.get(name),
  };
}

/** While the database is away, a key that is not in the environment can be neither accepted nor refused. */
function createBookOfEnvironment(ofEnvironment: readonly Buffer[], error: unknown): AccessBook {
  return {
    get isEmpty() {
      if (ofEnvironment.length === 0) throw error;
      return false;
    },
    callerOf(key) {
      const caller = callerOfEnvironment(hashOf(key), ofEnvironment);
      if (caller === undefined) throw error;
      return caller;
    },
    sourceOf() {
      throw error;
    },
  };
}

function callerOfEnvironment(hash: Buffer, ofEnvironment: readonly Buffer[]): Caller | undefined {
  const found = ofEnvironment.reduce((so, known, i) => (timingSafeEqual(hash, known) ? i : so), -1);
  if (found < 0) return undefined;
  return {
    keyId: `environment-${found + 1}`,
    name: "environment",
    scopes: SCOPES,
    accountPrefix: "",
    eventsPerSecond: null,
  };
}

function toCaller(key: Awaited<ReturnType<typeof readApiKeys>>[number]): Caller {
  const { id: keyId, name, scopes, accountPrefix, eventsPerSecond } = key;
  return { keyId, name, scopes, accountPrefix: accountPrefix ?? "", eventsPerSecond };
}

function hashOf(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}
