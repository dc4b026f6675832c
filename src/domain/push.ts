/**
 * Pushing events to a URL: what may be said of it.
 */
import ipaddr from "ipaddr.js";

/** How an event is written: as CloudEvents in binary mode, or as one JSON object. */
export const PUSH_FORMATS = ["cloudevents", "json"] as const;

/** One of {@link PUSH_FORMATS}. */
export type PushFormat = (typeof PUSH_FORMATS)[number];

/** Why a text is no URL to push to; undefined when it is one. */
export function faultOfUrl(text: string): string | undefined {
  const url = URL.parse(text);
  if (url === null || !["http:", "https:"].includes(url.protocol)) return "must be a URL that begins with https://";
  return url.username === "" && url.password === "" ? undefined : "must not have a name or a password in it";
}

/** The target that stands for a URL unless its type names another one. */
export function targetOfUrl(url: string): string {
  return new URL(url).host;
}

/** Whether a text is a network in CIDR notation, such as 10.0.0.0/8. */
export function isNetwork(text: string): boolean {
  return ipaddr.isValidCIDR(text);
}
