import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { InturnError } from "../src/errors/error.ts";
import { DoNotRetryError } from "../src/errors/retry.ts";
import { type HandlerModule, loadHandler } from "../src/worker/handler-module.ts";

/** Loads a handler module with this text. */
async function loadText(text: string): Promise<HandlerModule> {
  const folder = await mkdtemp(join(tmpdir(), "inturn-"));
  try {
    await writeFile(join(folder, "handler.mjs"), text);
    return await loadHandler(join(folder, "handler.mjs"));
  } finally {
    await rm(folder, { recursive: true });
  }
}

test("a handler module gives its handler, and how its event types are retried", async () => {
  const plain = await loadText("export default () => {}");
  assert.equal(typeof plain.handler, "function");
  assert.deepEqual(plain.eventTypes, {});
  const { eventTypes } = await loadText(
    `export default () => {}; export const eventTypes = { "a.b": { attemptsMax: 3, failurePolicy: "park", parkMs: 5 } };`,
  );
  assert.deepEqual(eventTypes, { "a.b": { attemptsMax: 3, failurePolicy: "park", parkMs: 5 } });
});

test("a module that cannot be used says everything that is wrong with it", async () => {
  const codes = async (text: string): Promise<[string, string[]]> => {
    try {
      await loadText(text);
      return ["loaded", []];
    } catch (error) {
      assert.ok(error instanceof InturnError);
      return [error.code, error.faults.map((fault) => fault.where)];
    }
  };
  assert.deepEqual(await codes("export default 5"), ["handler_invalid", []]);
  assert.deepEqual(await codes("export const handler = 1"), ["handler_invalid", []]);
  assert.deepEqual(await codes("syntax error"), ["handler_invalid", []]);
  const rules = `{ a: { attemptsMax: 0 }, b: { failurePolicy: "shrug", parkMs: "1" }, c: { attempts: 1 }, d: 5 }`;
  assert.deepEqual(await codes(`export default () => {}; export const eventTypes = ${rules};`), [
    "handler_invalid",
    ["a.attemptsMax", "b.failurePolicy", "b.parkMs", "c", "d"],
  ]);
});

test("a module that hangs while it loads ends the wait: after its time, or when the worker is told to stop", async () => {
  const folder = await mkdtemp(join(tmpdir(), "inturn-"));
  try {
    const file = join(folder, "hangs.mjs");
    await writeFile(
      file,
      "await new Promise(() => setInterval(() => undefined, 1_000).unref()); export default () => {};",
    );
    await assert.rejects(loadHandler(file, { loadMsMax: 50 }), /hangs\.mjs has not loaded within 0\.05 s/);
    const stop = new AbortController();
    const loading = loadHandler(file, { signal: stop.signal });
    stop.abort();
    await assert.rejects(loading, { name: "AbortError" });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a module in the syntax of ESM that Node takes for CommonJS says what to do", async () => {
  const folder = await mkdtemp(join(tmpdir(), "inturn-"));
  try {
    await writeFile(join(folder, "package.json"), '{ "type": "commonjs" }');
    await writeFile(join(folder, "handler.js"), "export default async () => {};");
    await assert.rejects(loadHandler(join(folder, "handler.js")), /name it \.mjs .*"type": "module"/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a handler imports values from inturn, wherever it lies and whether we were built or not", async () => {
  const { handler } = await loadText(
    `import { DoNotRetryError } from "inturn"; import { createClient } from "inturn/client";
     export default async () => { if (typeof createClient === "function") throw new DoNotRetryError("never"); };`,
  );
  await assert.rejects(
    async () => await handler({} as never, {} as never),
    (error) => error instanceof DoNotRetryError,
  );
});
