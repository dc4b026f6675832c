/**
 * The witness: a handler that writes down every start and end in a file of its process, over no database and under no
 * constraint, so that it owes nothing to the system under test. The event's data steers what it does besides.
 */
import { appendFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { HandlerContext, HandlerEvent } from "../../src/engine/handler.ts";
import { DoNotRetryError, TargetAwayError } from "../../src/errors/retry.ts";
import type { Behaviour } from "./client.ts";
import { monotonicMs } from "./clock.ts";
import { misuse, RAISE_COUNTER } from "./misuse.ts";

/** While this file is there, the outside system of `inturn.target` events is away. */
const away = join(process.env["FAULTS_WITNESS"] ?? ".", "away");

const file = join(process.env["FAULTS_WITNESS"] ?? ".", `${process.pid}.jsonl`);

const eventTypes = {
  "inturn.quick": { handlerTimeoutMs: 700, attemptsMax: 3 },
  "inturn.twice": { attemptsMax: 2 },
  // An earlier version of the program knows no targets.
  ...(process.env["FAULTS_TARGETS"] !== undefined && { "inturn.target": { attemptsMax: 3, target: "away" } }),
};

async function handler(event: HandlerEvent, context: HandlerContext): Promise<void> {
  const {
    n,
    ms: firstMs = 0,
    againMs = firstMs,
    deaf = false,
    failures = 0,
    act = "throw",
    blockMs = 0,
    counts = false,
  } = event.data as Behaviour;
  const note = (at: "start" | "end" | "fail") => {
    const { accountId: account, seq } = event;
    const line = { at, account, seq, n, epoch: context.epoch, attempt: context.attempt, pid: process.pid };
    appendFileSync(file, `${JSON.stringify({ ...line, ms: monotonicMs() })}\n`);
  };
  note("start");
  const ms = context.attempt === 1 ? firstMs : againMs;
  try {
    if (ms > 0) await sleep(ms, undefined, deaf ? {} : { signal: context.signal });
    if (event.type === "inturn.target" && existsSync(away)) throw notThere(event);
    const isGood = context.attempt > failures || (await misbehave(act, { event, context, blockMs }));
    if (counts && isGood) await count(event, context);
  } catch (error) {
    note("fail");
    throw error;
  }
  if (act === "hang" && context.attempt <= failures) {
    // What never resolves does nothing more: for the witness it is over.
    note("fail");
    await new Promise(() => undefined);
  }
  note("end");
}

export { eventTypes, handler as default };

/** Half of the events say what the matter is; the others just fail. */
function notThere({ seq }: HandlerEvent): Error {
  return seq % 2 === 0 ? new TargetAwayError("away") : new Error("connect ECONNREFUSED");
}

async function count(event: HandlerEvent, context: HandlerContext): Promise<void> {
  await context.transaction(async (client) => {
    await client.query(RAISE_COUNTER, [event.accountId]);
  });
}

/** Does as told. Returns whether the event is to be handled well after it: not when this has settled it. */
async function misbehave(
  act: NonNullable<Behaviour["act"]>,
  call: { event: HandlerEvent; context: HandlerContext; blockMs: number },
): Promise<boolean> {
  switch (act) {
    case "throw":
      throw new Error("it fails as told");
    case "give-up":
      throw new DoNotRetryError("it fails as told, for good");
    case "throw-null":
      // oxlint-disable-next-line typescript/only-throw-error
      throw null;
    case "reject-undefined":
      // oxlint-disable-next-line typescript/prefer-promise-reject-errors
      return await Promise.reject(undefined);
    case "huge-error":
      throw new Error("\0\ud800 long ".repeat(1_000_000));
    case "stray-rejection":
      void Promise.reject(new Error("nobody waits for this one"));
      throw new Error("and it fails besides");
    case "exit":
      return process.exit(3);
    case "spin":
      for (;;);
    case "hog":
      return hog();
    case "block":
      block(call.blockMs);
      return true;
    case "partial-write":
      return await writePartly(call.event, call.context);
    case "hang":
      return true;
    case "fail-unawaited":
    case "fail-late":
    case "commit-inside":
    case "rollback-inside":
    case "commit-by-hand":
    case "keep-client":
    case "litter":
      await misuse(act, call.event, call.context);
      return false;
  }
}

/** A transaction that has raised the counter already, and then fails: nothing of it may stay. */
async function writePartly(event: HandlerEvent, context: HandlerContext): Promise<never> {
  return await context.transaction(async (client) => {
    await client.query(RAISE_COUNTER, [event.accountId]);
    throw new Error("it fails with its writes half done");
  });
}

/** Allocates until there is no more. */
function hog(): never {
  const hoard: number[][] = [];
  for (;;) hoard.push(Array.from({ length: 100_000 }, (_, i) => i));
}

/** Keeps the event loop busy. */
function block(blockMs: number): void {
  const untilMs = monotonicMs() + blockMs;
  while (monotonicMs() < untilMs);
}
