import { setTimeout as sleep } from "node:timers/promises";

/** Waits until the condition holds, and returns what it returned. Fails after `withinMs`, saying what was waited for. */
export async function until<Value>(
  what: string,
  condition: () => Promise<Value | false | undefined> | Value | false | undefined,
  withinMs = 30_000,
): Promise<Value> {
  const deadlineMs = performance.now() + withinMs;
  for (;;) {
    const value = await condition();
    if (value !== false && value !== undefined) return value;
    if (performance.now() > deadlineMs) throw new Error(`waited ${withinMs} ms in vain until ${what}`);
    await sleep(20);
  }
}
