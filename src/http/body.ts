import { InturnError } from "../errors/error.ts";
import type { ApiContext } from "./route.ts";

/** Bytes of a request body. */
const BODY_BYTES_MAX = 8 * 1024 * 1024;

/** `application/json`, and no character set other than the only one that JSON has. */
const JSON_MEDIA_TYPE = /^application\/json\s*(;\s*charset\s*=\s*"?utf-?8"?\s*)?$/i;

/**
 * Reads the text of a JSON request body.
 *
 * @throws InturnError `media_type_unsupported`, `body_too_large`, `body_missing`, or `json_malformed` when it is not UTF-8
 */
export async function readJsonText(c: ApiContext): Promise<string> {
  const type = c.req.header("content-type") ?? "";
  if (!JSON_MEDIA_TYPE.test(type)) {
    throw new InturnError(
      "media_type_unsupported",
      `Send Content-Type: application/json (in UTF-8), not ${JSON.stringify(type)}.`,
    );
  }
  const encoding = c.req.header("content-encoding");
  if (encoding !== undefined && encoding !== "identity") {
    throw new InturnError(
      "media_type_unsupported",
      `Send the body as it is: Content-Encoding ${JSON.stringify(encoding)} is not understood.`,
    );
  }
  const bytes = await readBytes(c).catch((cause: unknown) => {
    if (cause instanceof InturnError) throw cause;
    throw new InturnError("body_incomplete", "The request ended before its body did; nothing was stored.", { cause });
  });
  if (bytes.byteLength === 0)
    throw new InturnError("body_missing", "The request has no body; send one event or an array of events.");
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new InturnError("json_malformed", "The body is not valid UTF-8.", { cause });
  }
}

/** An announced length is judged before a byte is read; without one the bytes are counted as they come. */
async function readBytes(c: ApiContext): Promise<ArrayBuffer | Uint8Array> {
  const announced = c.req.header("content-length");
  if (announced !== undefined) {
    if (Number(announced) > BODY_BYTES_MAX) throw tooLarge();
    return await c.req.arrayBuffer();
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of (c.req.raw.body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > BODY_BYTES_MAX) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function tooLarge(): InturnError {
  return new InturnError("body_too_large", `A request body may have ${BODY_BYTES_MAX} bytes at most; split the batch.`);
}
