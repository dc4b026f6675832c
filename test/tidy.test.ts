/**
 * The rules of this code, checked.
 */
import assert from "node:assert/strict";
import { glob, readFile } from "node:fs/promises";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";

/** From the bottom up; a folder imports from its own and from those below, never from beside or above. */
const LAYERS = [
  ["errors"],
  ["domain"],
  ["config", "log", "trace", "metrics", "embedded"],
  ["db"],
  ["engine"],
  ["worker", "push", "http", "dashboard", "client"],
  ["service"],
  ["demo"],
  ["cli", "testing", "index.ts"],
];

async function readSources(): Promise<Map<string, string>> {
  const files = await Array.fromAsync(glob("src/**/*.ts"));
  return new Map(await Promise.all(files.map(async (file) => [file, await readFile(file, "utf8")] as const)));
}

const folderOf = (file: string) => file.split("/")[1] ?? "";
const layerOf = (file: string) => LAYERS.findIndex((folders) => folders.includes(folderOf(file)));

function importsOf(file: string, source: string): string[] {
  const imports = source.matchAll(/^(?:import|export)\b[^;]*?from "(\.[^"]+)"/gm);
  return [...imports].map(([, path]) => normalize(join(dirname(file), path ?? "")));
}

test("imports point only downward, and never to a folder beside", async () => {
  const wrong: string[] = [];
  for (const [file, source] of await readSources()) {
    assert.notEqual(layerOf(file), -1, `${file} is in no layer`);
    for (const imported of importsOf(file, source)) {
      if (folderOf(imported) !== folderOf(file) && layerOf(imported) >= layerOf(file))
        wrong.push(`${file} → ${imported}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("no file imports itself over others, also not for its types", async () => {
  const sources = await readSources();
  const graph = new Map([...sources].map(([file, source]) => [file, importsOf(file, source)]));
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(" → "));
    if (path.includes(file) || done.has(file)) return;
    for (const imported of graph.get(file) ?? []) visit(imported, [...path, file]);
    done.add(file);
  };
  for (const file of graph.keys()) visit(file, []);
  assert.deepEqual(cycles, []);
});

test("the domain is pure: no clock, no randomness, no input or output", async () => {
  for (const [file, source] of await readSources()) {
    if (folderOf(file) !== "domain") continue;
    assert.doesNotMatch(
      source,
      /\bDate\.now|new Date\(\)|Math\.random|performance\.|\basync\b|from "node:|from "pg"/,
      file,
    );
  }
});

test("only db knows SQL, only one place adds the jobs of each task, only config reads the environment", async () => {
  const addsJob: string[] = [];
  for (const [file, source] of await readSources()) {
    if (/\badd_jobs?\s*\(/.test(source)) addsJob.push(file);
    if (folderOf(file) !== "db" && file !== "src/embedded/embedded-postgres.ts") {
      assert.doesNotMatch(source, /\b(?:from|into|update|truncate) inturn\./, `${file} has SQL`);
    }
    if (folderOf(file) !== "config") assert.doesNotMatch(source, /process\.env[.[]/, `${file} reads the environment`);
  }
  for (const file of await Array.fromAsync(glob("src/db/sql/**/*.sql"))) {
    if (/\badd_jobs?\s*\(/.test(await readFile(file, "utf8"))) addsJob.push(file);
  }
  assert.deepEqual(addsJob.toSorted(), ["src/db/sql/operations/wake_operation.sql", "src/db/sql/wake/wake.sql"]);
});

test("every export says in a docstring what it promises", async () => {
  const silent: string[] = [];
  for (const [file, source] of await readSources()) {
    const lines = source.split("\n");
    for (const [i, line] of lines.entries()) {
      const declares = /^export (?:default )?(?:async )?(?:function|class|const|interface|type) (\w+)/.exec(line);
      if (declares !== null && !(lines[i - 1] ?? "").endsWith("*/")) silent.push(`${file}: ${declares[1]}`);
    }
  }
  assert.deepEqual(silent, []);
});

test("nothing is left to do, nothing is switched off, and no state lives in a module", async () => {
  for (const [file, source] of await readSources()) {
    assert.doesNotMatch(source, /\bTODO\b|\bFIXME\b|@ts-ignore|@ts-expect-error|oxlint-disable/, file);
    assert.doesNotMatch(source, /^(?:export )?(?:let|var) /m, `${file} has a variable at module level`);
  }
});

test("words that the glossary replaced are gone from code, SQL and docs", async () => {
  const files = await Array.fromAsync(
    glob("{src,docs,bench,drizzle}/**/*.{ts,sql,md}", { exclude: ["**/node_modules/**"] }),
  );
  for (const file of [...files, "README.md"]) {
    const text = await readFile(file, "utf8");
    assert.doesNotMatch(text, /\b(?:doors?|places?|house|strays?|bury|buried|the forgotten)\b/i, file);
    // A page is what a person looks at; what a worker reads is a batch.
    if (/^src\/(?:engine\/(?:turn|ledger|read-ahead|holding)|worker\/)/.test(file))
      assert.doesNotMatch(text, /\bpages?\b/i, file);
  }
});
