/**
 * The README's promises to a newcomer: its commands exist, its SQL and its requests run as they stand there.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { promisify } from "node:util";
import pg from "pg";
import { createProgram } from "../src/cli/program.ts";
import { describeSettings } from "../src/config/settings.ts";
import { insertSource } from "../src/db/sources.ts";
import { createWebhookSecret } from "../src/engine/access.ts";
import { withDatabase } from "./support/database.ts";
import { startProcess } from "./support/process.ts";

const readme = await readFile("README.md", "utf8");

function blocks(language: string, document = readme): string[] {
  return [...document.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, "gm"))].map(
    ([, text]) => text ?? "",
  );
}

function rowsOf(heading: string): string[][] {
  const section = readme.split(`### ${heading}\n`)[1]?.split(/^#/m)[0] ?? "";
  const lines = section.split("\n").filter((line) => line.startsWith("| `"));
  return lines.map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim().replace(/^`(.*)`$/, "$1")),
  );
}

test("every npm script that is mentioned exists, and every command is mentioned", async () => {
  const { scripts } = JSON.parse(await readFile("package.json", "utf8")) as { scripts: Record<string, string> };
  for (const [, name] of readme.matchAll(/npm run (?:-s )?([a-z:]+)/g))
    assert.ok(scripts[name ?? ""], `npm run ${name}`);
  const commands = createProgram().commands.map((command) => command.name());
  assert.deepEqual(
    rowsOf("Commands").map(([name]) => name),
    commands,
  );
  for (const command of commands) assert.equal(scripts[command], `node src/cli/main.ts ${command}`);
});

test("the table of settings is the settings", () => {
  assert.deepEqual(
    rowsOf("Settings"),
    describeSettings().map(({ variable, default: value, description }) => [variable, value, description]),
  );
});

test(
  "the SQL runs as it stands",
  withDatabase(async (db) => {
    const client = new pg.Client({ connectionString: db.url });
    await client.connect();
    const sql = blocks("sql");
    assert.equal(sql.length, 3);
    for (const text of sql) await client.query(text);
    await client.end();
    assert.deepEqual(await db.query("select account_id, events from inturn.account_results order by 1"), [
      { account_id: "a1", events: 3 },
      { account_id: "b7", events: 1 },
    ]);
  }),
);

const hasCurl = await promisify(execFile)("curl", ["--version"]).then(
  () => true,
  () => false,
);

test(
  "the requests run as they stand",
  { skip: hasCurl ? false : "there is no curl here" },
  withDatabase(async (db) => {
    const server = startProcess(["serve", "--port", "0"], { DATABASE_URL: db.url });
    const { url = "" } = await server.ready;
    const run = async (script: string) =>
      (await promisify(execFile)("bash", ["-ec", script.replaceAll("http://127.0.0.1:8000", url)])).stdout;
    const stdout = await run(blocks("sh").find((block) => block.includes("curl")) ?? "");
    assert.equal(stdout.match(/HTTP\/1\.1 202/g)?.length, 2);
    assert.match(stdout, /\{"accountId":"a1","seq":1,"duplicate":false\}/);
    assert.match(stdout, /"seq":2,.*"data":2\}/);
    const sending = await run(blocks("sh", await readFile("docs/sending.md", "utf8"))[0] ?? "");
    assert.equal(sending.match(/"seq":\d+,"duplicate":false/g)?.length, 6, sending);
    const [stuck, waiting] = blocks("sh", await readFile("docs/reading.md", "utf8"));
    assert.match(await run(stuck ?? ""), /^\{"accounts":\[\],"next":null\}$/);
    assert.match(
      await run((waiting ?? "").replace("wait=30", "wait=1")),
      /"state":"pending".*"data":\{"amount": 12\}\}$/,
    );
    assert.equal(await server.stop(), 0);
  }),
);

test(
  "the example of who signs a webhook runs as it stands",
  withDatabase(async (db) => {
    const secret = createWebhookSecret();
    await insertSource(db.database, { name: "shop", secret, accountPointer: "/data/customer" });
    const server = startProcess(["serve", "--port", "0"], { DATABASE_URL: db.url });
    const { url = "" } = await server.ready;
    const [example = ""] = blocks("js", await readFile("docs/access.md", "utf8"));
    const script = example.replace("http://127.0.0.1:8000", url);
    const environment = { ...process.env, WEBHOOK_SECRET: secret };
    await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], { env: environment });
    assert.deepEqual(await db.query("select account_id, event_id, type, metadata from inturn.events"), [
      { account_id: "a1", event_id: "msg_1", type: "order.paid", metadata: { source: "shop" } },
    ]);
    assert.equal(await server.stop(), 0);
  }),
);
