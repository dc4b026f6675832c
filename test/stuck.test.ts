/**
 * Handlers that do to their process what no handler should: it ends, its attempt counts, and everybody else goes on.
 */
import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { withDatabase } from "./support/database.ts";
import { startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

for (const [what, code, ending] of [
  ["computes without end", "for (;;);", "SIGKILL"],
  ["calls process.exit(0)", "process.exit(0);", 1],
  ["eats all memory", "const eaten = []; for (;;) eaten.push(new Array(1e5).fill(1.5));", "SIGABRT"],
] as const) {
  test(
    `a handler that ${what} ends its process with ${ending}; after its attempts its account is blocked, the others go on`,
    withDatabase(async (db) => {
      const handler = join(tmpdir(), `inturn-handler-${process.pid}-${ending}.mjs`);
      await writeFile(handler, `export default (event) => { if (event.accountId === "poison") { ${code} } };\n`);
      const environment = {
        DATABASE_URL: db.url,
        INTURN_HANDLER: handler,
        INTURN_LEASE_MS: "1000",
        INTURN_ATTEMPTS_MAX: "2",
        NODE_OPTIONS: "--max-old-space-size=100",
      };
      await db.query("select from inturn.append_event('poison', '{}')");
      const endings: unknown[] = [];
      // A supervisor starts another one whenever one has ended.
      let worker = startProcess(["work"], environment);
      while (endings.length < 2) {
        endings.push(await worker.ended);
        worker = startProcess(["work"], environment);
      }
      await db.query("select from inturn.append_event('good', '{}')");
      const done = await until("the poison is blocked and the other one processed", async () => {
        const rows = await db.query(
          "select account_id, state, processed, head_attempts from inturn.account_results order by 1",
        );
        return rows[0]?.["state"] === "idle" && rows[1]?.["state"] === "blocked" && rows;
      });
      assert.deepEqual(done, [
        { account_id: "good", state: "idle", processed: 1, head_attempts: null },
        { account_id: "poison", state: "blocked", processed: 0, head_attempts: 2 },
      ]);
      assert.deepEqual(endings, [ending, ending]);
      assert.equal(await worker.stop(), 0);
      await rm(handler);
    }),
  );
}
