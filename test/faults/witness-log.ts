import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { HandlerCall } from "./history.ts";

/** A line of the witness. */
interface Line extends Omit<HandlerCall, "startMs" | "endMs" | "succeeded"> {
  readonly at: "start" | "end" | "fail";
  readonly ms: number;
}

/** Everything the witness wrote so far, in the order of the starts. */
export async function readWitness(folder: string): Promise<HandlerCall[]> {
  const files = await readdir(folder);
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), "utf8")));
  return texts.flatMap(readCalls).toSorted((a, b) => a.startMs - b.startMs);
}

/** One process's calls. A line that a kill cut short is left out. */
function readCalls(text: string): HandlerCall[] {
  const calls: HandlerCall[] = [];
  const places = new Map<string, number>();
  const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
  for (const line of lines) {
    if (line === "") continue;
    const { at, ms, ...call } = JSON.parse(line) as Line;
    const key = `${call.account} ${call.seq} ${call.epoch} ${call.attempt}`;
    const place = places.get(key);
    const open = place === undefined ? undefined : calls[place];
    if (at === "start") places.set(key, calls.push({ ...call, startMs: ms, endMs: undefined, succeeded: false }) - 1);
    else if (open !== undefined && place !== undefined) calls[place] = { ...open, endMs: ms, succeeded: at === "end" };
  }
  return calls;
}
