/**
 * How senders of webhooks sign them. Each scheme says from the headers alone whether a signature is there and fresh, and checks it
 * over the bytes as they came.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { Webhook } from "standardwebhooks";
import type { SourceScheme } from "../domain/source.ts";

/** The headers of a request; their names are in lower case. */
export type Headers = Readonly<Record<string, string>>;

/** A way of signing. */
export interface Signature {
  /** Whether there is a signature that may be good: before anything is read. */
  readonly isPresent: (headers: Headers) => boolean;
  /** Whether it fits this secret. Takes as long whether it does or not. */
  readonly fits: (secret: string, bytes: Uint8Array, headers: Headers) => boolean;
}

/** How far a signature's time may be from ours, in seconds. */
const CLOCK_SECONDS_MAX = 300;

const isFresh = (seconds: string | undefined) =>
  seconds !== undefined &&
  /^\d{1,12}$/.test(seconds) &&
  Math.abs(Date.now() / 1_000 - Number(seconds)) <= CLOCK_SECONDS_MAX;

const hmacOf = (secret: string, ...parts: (string | Uint8Array)[]) => {
  const hmac = createHmac("sha256", secret);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
};

/** Compares in constant time; what has another length is compared with nothing. */
function isEqual(expected: Buffer, given: Buffer): boolean {
  const isAsLong = given.length === expected.length;
  return timingSafeEqual(expected, isAsLong ? given : Buffer.alloc(expected.length)) && isAsLong;
}

const isHex = (text: string) => /^[0-9a-f]{64}$/i.test(text);

/** `t=<seconds>,v1=<hex>`, with as many v1 as there are secrets. */
function partsOf(header: string | undefined): { seconds: string | undefined; signatures: string[] } {
  const parts = (header ?? "").split(",").map((part) => part.trim().split("="));
  const all = (name: string) => parts.filter(([key]) => key === name).map(([, value = ""]) => value);
  return { seconds: all("t")[0], signatures: all("v1") };
}

/** Every scheme. */
export const SIGNATURES: Readonly<Record<SourceScheme, Signature>> = {
  standard: {
    isPresent: (headers) =>
      headers["webhook-id"] !== undefined &&
      headers["webhook-signature"] !== undefined &&
      isFresh(headers["webhook-timestamp"]),
    fits(secret, bytes, headers) {
      try {
        new Webhook(secret).verify(Buffer.from(bytes), headers, { jsonParse: false });
        return true;
      } catch {
        return false;
      }
    },
  },
  stripe: {
    isPresent(headers) {
      const { seconds, signatures } = partsOf(headers["stripe-signature"]);
      return isFresh(seconds) && signatures.some(isHex);
    },
    fits(secret, bytes, headers) {
      const { seconds = "", signatures } = partsOf(headers["stripe-signature"]);
      const expected = hmacOf(secret, `${seconds}.`, bytes);
      return signatures.filter((given) => isEqual(expected, Buffer.from(given, "hex"))).length > 0;
    },
  },
  github: {
    isPresent: (headers) => isHex((headers["x-hub-signature-256"] ?? "").replace(/^sha256=/, "")),
    fits: (secret, bytes, headers) =>
      isEqual(
        hmacOf(secret, bytes),
        Buffer.from((headers["x-hub-signature-256"] ?? "").replace(/^sha256=/, ""), "hex"),
      ),
  },
  slack: {
    isPresent: (headers) =>
      isFresh(headers["x-slack-request-timestamp"]) && isHex((headers["x-slack-signature"] ?? "").replace(/^v0=/, "")),
    fits: (secret, bytes, headers) =>
      isEqual(
        hmacOf(secret, `v0:${headers["x-slack-request-timestamp"]}:`, bytes),
        Buffer.from((headers["x-slack-signature"] ?? "").replace(/^v0=/, ""), "hex"),
      ),
  },
  shopify: {
    isPresent: (headers) => headers["x-shopify-hmac-sha256"] !== undefined,
    fits: (secret, bytes, headers) =>
      isEqual(hmacOf(secret, bytes), Buffer.from(headers["x-shopify-hmac-sha256"] ?? "", "base64")),
  },
  // It signs nothing: it says a word that both sides know.
  telegram: {
    isPresent: (headers) => headers["x-telegram-bot-api-secret-token"] !== undefined,
    fits: (secret, _bytes, headers) =>
      isEqual(hmacOf("", secret), hmacOf("", headers["x-telegram-bot-api-secret-token"] ?? "")),
  },
  hmac: {
    isPresent: (headers) => headers["x-signature"] !== undefined,
    fits(secret, bytes, headers) {
      const given = (headers["x-signature"] ?? "").replace(/^sha256=/, "");
      return isEqual(hmacOf(secret, bytes), Buffer.from(given, isHex(given) ? "hex" : "base64"));
    },
  },
};
