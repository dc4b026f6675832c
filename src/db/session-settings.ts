/**
 * The settings of every session of ours. A database, a role and an address can set all of them to something else; what our
 * statements rely on is said here, for every connection, and wins over what others have set.
 */
const RELIED_ON: Readonly<Record<string, string>> = {
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

/**
 * The address with these settings for its sessions, on top of what it says itself.
 *
 * @param url a connection string, also one of a socket, which `URL` does not read
 * @param more settings of one kind of connection
 */
export function withSessionSettings(url: string, more: Readonly<Record<string, string>> = {}): string {
  const [address = "", query = ""] = url.split("?", 2);
  const parameters = new URLSearchParams(query);
  const ours = Object.entries({ ...RELIED_ON, ...more }).map(([name, value]) => `-c ${name}=${escapeSpaces(value)}`);
  parameters.set("options", [parameters.get("options") ?? "", ...ours].join(" ").trim());
  return `${address}?${parameters.toString()}`;
}

function escapeSpaces(value: string): string {
  return value.replaceAll(/([\\ ])/g, "\\$1");
}
