/** A newcomer's path, with the lines of the README: the demo, a handler of one's own, curl, and a look into the database. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { until } from "./support/until.ts";

const PARTS = ["src", "drizzle", "package.json", "README.md"];

/** The first block of this language that has this text, from a document. */
function blockOf(document: string, language: string, text: string): string {
  const blocks = [...document.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, "gm"))].map(
    ([, block]) => block ?? "",
  );
  const found = blocks.find((block) => block.includes(text));
  assert.ok(found !== undefined, `a block of ${language} with ${text}`);
  return found;
}

test("clone, demo, handler, curl, psql: every step works as the README says", async () => {
  const clone = await mkdtemp(join(tmpdir(), "inturn-clone-"));
  const environment = { ...process.env, NODE_OPTIONS: "", DATABASE_URL: "", PORT: "0", LOG_LEVEL: "info" };
  const shell = async (script: string) =>
    (await promisify(execFile)("bash", ["-ec", script], { cwd: clone, env: environment, maxBuffer: 1e8 })).stdout;
  try {
    for (const part of PARTS) await cp(part, join(clone, part), { recursive: true });
    // What `npm ci` makes.
    await symlink(resolve("node_modules"), join(clone, "node_modules"));
    const readme = await readFile(join(clone, "README.md"), "utf8");

    const demo = blockOf(readme, "sh", "npm run demo").replace("npm ci && ", "").trim();
    assert.equal(demo, "npm run demo");
    const report = await shell(`${demo} -- --events 300 --accounts 30 --handler-ms 10 --json 2>/dev/null | tail -1`);
    assert.equal((JSON.parse(report) as { processed: number }).processed, 300);

    const handler = blockOf(readme, "ts", "export default handler").replace(
      'import type { Handler } from "inturn";',
      'import { DoNotRetryError, type Handler } from "inturn";\nvoid DoNotRetryError;',
    );
    await writeFile(join(clone, "my-handler.ts"), handler);
    const start = blockOf(readme, "sh", "npm start").trim();
    const running = spawn("bash", ["-c", `exec ${start}`], {
      cwd: clone,
      env: environment,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const stream of [running.stdout, running.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => (output += text));
    try {
      const url = await until("it listens", () => /at (http:\S+)\/v1\/events/.exec(output)?.[1]);
      const answers = await shell(blockOf(readme, "sh", "curl").replaceAll("http://127.0.0.1:8000", url));
      assert.equal(answers.match(/HTTP\/1\.1 202/g)?.length, 2);
      const lines = blockOf(readme, "sql", "account_results").split("\n");
      const look = lines.find((line) => line.includes("account_results")) ?? "";
      const ask = async () => await shell(`npm run -s psql -- -c "${look}"`);
      await until("all is processed", async () => /\ba1\b\s+\|?\s*idle\s+\|?\s*2\s+\|?\s*2\b/.test(await ask()));
      assert.match(output, /handling/);
    } finally {
      running.kill("SIGTERM");
      await once(running, "close");
    }
  } finally {
    await rm(clone, { recursive: true, force: true });
  }
});
