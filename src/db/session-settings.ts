/** How a database is reached, and the settings of every session of ours there. */
import type pg from "pg";

/** A connection string, also one of a socket; or what `pg` takes instead, with a password that a function gives, say. */
export type DatabaseAddress = string | pg.ClientConfig;

/**
 * A database, a role and an address can set all of them to something else; what our statements rely on is said here, for every
 * connection, and wins over what others have set.
 */
export const RELIED_ON: Readonly<Record<string, string>> = {
  // pg reads times, intervals, bytes and numbers from text.
  datestyle: "ISO,MDY",
  intervalstyle: "postgres",
  bytea_output: "hex",
  extra_float_digits: "1",
  standard_conforming_strings: "on",
  array_nulls: "on",
  transform_null_equals: "off",
  // Rows are locked before they are read; a stricter level would fail where this one waits.
  default_transaction_isolation: "read committed",
  default_transaction_deferrable: "off",
  // Compiling a plan takes longer than any statement of ours: half a second for a reconciliation that takes 5 ms.
  jit: "off",
};

/** What of a client's configuration says how the database is reached; the rest is ours. */
const REACH = [
  "host",
  "port",
  "user",
  "password",
  "database",
  "ssl",
  "stream",
  "enableChannelBinding",
] as const satisfies (keyof pg.ClientConfig)[];

/**
 * The address with these settings for its sessions, on top of what it says itself.
 *
 * @param more settings of one kind of connection
 */
export function withSessionSettings(
  address: DatabaseAddress,
  more: Readonly<Record<string, string>> = {},
): pg.ClientConfig {
  const ours = Object.entries({ ...RELIED_ON, ...more }).map(([name, value]) => `-c ${name}=${escapeSpaces(value)}`);
  const withOurs = (theirs: string | null | undefined) => [theirs ?? "", ...ours].join(" ").trim();
  const { connectionString, ...reach } = reachOf(address);
  // What a connection string says wins over its neighbours.
  if (connectionString !== undefined) return { ...reach, connectionString: withOptions(connectionString, withOurs) };
  return { ...reach, options: withOurs(typeof address === "string" ? undefined : address.options) };
}

/** The address alone, without settings of ours. */
export function reachOf(address: DatabaseAddress): pg.ClientConfig {
  if (typeof address === "string") return { connectionString: address };
  return Object.fromEntries(
    [...REACH, "connectionString" as const]
      .map((name) => [name, address[name]])
      .filter(([, value]) => value !== undefined),
  );
}

/** `URL` does not read the address of a socket. */
function withOptions(connectionString: string, change: (options: string | null) => string): string {
  const [address = "", query = ""] = connectionString.split("?", 2);
  const parameters = new URLSearchParams(query);
  parameters.set("options", change(parameters.get("options")));
  return `${address}?${parameters.toString()}`;
}

function escapeSpaces(value: string): string {
  return value.replaceAll(/([\\ ])/g, "\\$1");
}
