import { InturnError } from "../errors/error.ts";
import type { ApiContext } from "./route.ts";

/** A media type, and nothing after it but a character set, which can only be the one that JSON has. */
const MEDIA_TYPE = /^([a-z0-9.+-]+\/[a-z0-9.+-]+)\s*(?:;\s*charset\s*=\s*"?utf-?8"?\s*)?$/i;

/** The media type of a body, in lower case; empty when it is not stated or not in UTF-8. */
export function mediaTypeOf(c: ApiContext): string {
  return MEDIA_TYPE.exec(c.req.header("content-type") ?? "")?.[1]?.toLowerCase() ?? "";
}

/** @throws InturnError `media_type_unsupported` when the body comes packed */
export function refuseEncoding(c: ApiContext): void {
  const encoding = c.req.header("content-encoding");
  if (encoding === undefined || encoding === "identity") return;
  throw new InturnError(
    "media_type_unsupported",
    `Send the body as it is: Content-Encoding ${JSON.stringify(encoding)} is not understood.`,
  );
}

/** The error for a body of a type that is none of these. */
export function unsupportedType(c: ApiContext, supported: readonly string[]): InturnError {
  const type = c.req.header("content-type");
  const given = type === undefined ? "without a Content-Type" : `with Content-Type ${JSON.stringify(type)}`;
  return new InturnError(
    "media_type_unsupported",
    `The request came ${given}; send ${supported.join(" or ")}, in UTF-8.`,
  );
}
