import type { BodyMemory } from "../engine/body-budget.ts";
import { InturnError } from "../errors/error.ts";
import type { ApiContext } from "./route.ts";

/** A body that announces no more than this counts at once and is read whole: it is here as soon as it is announced. */
const SMALL_BYTES_MAX = 65_536;

/** How much a body may have, and the memory that it comes out of. */
export interface BodyLimits {
  readonly bodyBytesMax: number;
  readonly memory: BodyMemory;
}

/**
 * Reads the body and hands it to `work`; it counts as memory until that is done. An announced length is judged before a byte
 * is read, but what is announced takes no memory: a large body's bytes count as they come.
 *
 * @throws InturnError `body_too_large`, `body_incomplete` when the sender went away, `overloaded`, and what `work` throws
 */
export async function withBody<Result>(
  c: ApiContext,
  limits: BodyLimits,
  work: (body: Uint8Array) => Promise<Result>,
): Promise<Result> {
  const { bodyBytesMax, memory } = limits;
  const announced = c.req.header("content-length");
  if (announced !== undefined && Number(announced) > bodyBytesMax) throw tooLarge(bodyBytesMax);
  let taken = 0;
  const take = (bytes: number) => {
    memory.take(bytes);
    taken += bytes;
  };
  try {
    if (announced === undefined || Number(announced) > SMALL_BYTES_MAX)
      return await work(await readChunks(c, bodyBytesMax, take));
    take(Number(announced));
    return await work(new Uint8Array(await c.req.arrayBuffer().catch(refuseIncomplete)));
  } finally {
    memory.give(taken);
  }
}

async function readChunks(c: ApiContext, bytesMax: number, take: (bytes: number) => void): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of readBodyChunks(c)) {
    size += chunk.byteLength;
    if (size > bytesMax) throw tooLarge(bytesMax);
    take(chunk.byteLength);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The body as it comes. */
export async function* readBodyChunks(c: ApiContext): AsyncGenerator<Uint8Array> {
  if (c.req.raw.body === null) return;
  const chunks = (c.req.raw.body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
  for (;;) {
    const { value, done } = await chunks.next().catch(refuseIncomplete);
    if (done === true) return;
    yield value;
  }
}

function refuseIncomplete(cause: unknown): never {
  throw new InturnError("body_incomplete", "The request ended before its body did.", { cause });
}

const UTF8 = new TextDecoder("utf-8", { fatal: true });

/** The text of UTF-8 bytes; a byte-order mark is left out. @throws InturnError `json_malformed` */
export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return UTF8.decode(bytes);
  } catch (cause) {
    throw new InturnError("json_malformed", "The body is not valid UTF-8.", { cause });
  }
}

/** @param bytesMax of a body, or of a line of one */
export function tooLarge(bytesMax: number, what = "A request body"): InturnError {
  return new InturnError("body_too_large", `${what} may have ${bytesMax} bytes at most; send less at once.`);
}

/** The error for a request without the body that it needs. */
export function bodyMissing(): InturnError {
  return new InturnError("body_missing", "The request has no body; send one event or many.");
}
