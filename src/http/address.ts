import { InturnError } from "../errors/error.ts";
import type { ApiContext } from "./route.ts";

/**
 * Refuses, before anything is looked up by it, an address that no text spells, has a NUL in it, or names another host (a
 * proxy's form), and a request that says twice which host it means.
 */
export function refuseUnreadableAddress(c: ApiContext): void {
  if (c.env?.incoming?.url?.startsWith("/") === false) {
    throw new InturnError("path_invalid", "The request names a whole URL; this is no proxy: send the path alone.");
  }
  if (countHeaders(c, "host") > 1) throw new InturnError("header_invalid", "The request has more than one Host.");
  const address = c.req.url.slice(c.req.url.indexOf("/", "https://".length));
  const [path = "", query = ""] = address.split(/\?(.*)/s, 2);
  if (!isReadable(path)) throw new InturnError("path_invalid", "The path has a percent-encoding that spells no text.");
  if (!isReadable(query))
    throw new InturnError("query_invalid", "The query has a percent-encoding that spells no text.");
}

/** How often a header came. Node keeps the first of several, or joins them: this looks at what was sent. */
export function countHeaders(c: ApiContext, name: string): number {
  const raw = c.env?.incoming?.rawHeaders ?? [];
  let count = 0;
  for (let i = 0; i < raw.length; i += 2) {
    const header = raw[i] ?? "";
    if (header.length === name.length && header.toLowerCase() === name) count += 1;
  }
  return count;
}

function isReadable(encoded: string): boolean {
  if (!encoded.includes("%")) return true;
  try {
    return !decodeURIComponent(encoded).includes("\0");
  } catch {
    return false;
  }
}

/**
 * Who a request without a key comes from: the IPv4 address, or the network (/64) of an IPv6 address, of which one sender has
 * all. Empty where there is no connection, as in tests.
 */
export function networkOf(c: ApiContext): string {
  const address = c.env?.incoming?.socket?.remoteAddress ?? "";
  const v4 = /^::ffff:([\d.]+)$/i.exec(address)?.[1];
  if (v4 !== undefined || !address.includes(":")) return v4 ?? address;
  const [head = "", tail = ""] = address.replace(/%.*$/, "").split("::");
  const groups = [head, tail].map((part) => part.split(":").filter(Boolean));
  const zeros = Array<string>(Math.max(0, 8 - groups.flat().length)).fill("0");
  return [...(groups[0] ?? []), ...zeros, ...(groups[1] ?? [])].slice(0, 4).join(":");
}
