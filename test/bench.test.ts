import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { withDatabase } from "./support/database.ts";
import { WITHOUT_PGBOUNCER } from "./support/pgbouncer.ts";
import { runProcess } from "./support/process.ts";

test(
  "the benchmark still measures every scenario",
  withDatabase(async (db) => {
    const script = new URL("../bench/run.ts", import.meta.url).pathname;
    const { code, stdout, stderr } = await runProcess(
      ["--iterations", "1", "--percent", "1", "--json"],
      { DATABASE_URL: db.url },
      { script },
    );
    assert.equal(code, 0, stderr);
    const rows = JSON.parse(stdout) as { scenario: string; eventsPerSecond: number }[];
    assert.deepEqual(
      rows.map((row) => row.scenario),
      [
        "ingest-500",
        "ingest-1",
        "ingest-500-keys",
        "ingest-1-keys",
        "ingest-500-processes",
        "ingest-1-processes",
        "echo",
        "append-sql",
        "drain",
        "drain-batch",
        "drain-ahead",
        ...(WITHOUT_PGBOUNCER === false ? ["drain-pooler"] : []),
        "bare-sql",
        "drain-watched",
        "end-to-end",
      ],
    );
    for (const row of rows) assert.ok(row.eventsPerSecond > 0, row.scenario);
  }),
);

test("what is said of how far cells go is what is computed", async () => {
  const script = new URL("../bench/scale.ts", import.meta.url).pathname;
  const { code, stdout, stderr } = await runProcess([], {}, { script });
  assert.equal(code, 0, stderr);
  const docs = await readFile(new URL("../docs/scale.md", import.meta.url), "utf8");
  const [table = "", last = ""] = stdout.split("\n\n");
  assert.ok(docs.includes(table), stdout);
  for (const [number = ""] of last.matchAll(/[\d.,]+ %|[\d,]+ events\/s/g)) assert.ok(docs.includes(number), number);
});
