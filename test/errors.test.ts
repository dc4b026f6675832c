import assert from "node:assert/strict";
import { glob, readFile } from "node:fs/promises";
import { test } from "node:test";
import { ERRORS } from "../src/errors/codes.ts";

test("docs/errors.md has one row for each code, with its status and its meaning, in the order of the table", async () => {
  const lines = (await readFile("docs/errors.md", "utf8")).split("\n").filter((line) => line.startsWith("| `"));
  assert.deepEqual(
    lines.map((line) => line.split(" | ").map((cell) => cell.replace(/^\| | \|$/g, "").trim())),
    Object.entries(ERRORS).map(([code, { status, says }]) => [`\`${code}\``, String(status ?? "–"), says]),
  );
});

test("every code is used, and every meaning is a sentence", async () => {
  const files = (await Array.fromAsync(glob("src/**/*.ts"))).filter((file) => file !== "src/errors/codes.ts");
  const source = (await Promise.all(files.map((file) => readFile(file, "utf8")))).join("\n");
  for (const [code, { says }] of Object.entries(ERRORS)) {
    assert.match(source, new RegExp(`"${code}"`));
    assert.match(says, /^[A-Z].*\.$/);
  }
});
