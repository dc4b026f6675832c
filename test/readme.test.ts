/**
 * The README's promises to a newcomer: its commands exist, its SQL and its requests run as they stand there.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { access, glob, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
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
const read = async (name: string) => await readFile(`docs/${name}.md`, "utf8");

function blocks(language: string, document = readme): string[] {
  return [...document.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, "gm"))].map(
    ([, text]) => text ?? "",
  );
}

/** The rows of a section's table, or of the whole document's. */
function rowsOf(document: string, heading?: string): string[][] {
  const section = heading === undefined ? document : (document.split(`## ${heading}\n`)[1]?.split(/^#/m)[0] ?? "");
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
  for (const file of ["README.md", ...(await Array.fromAsync(glob("docs/*.md")))]) {
    const document = await readFile(file, "utf8");
    for (const [, name] of document.matchAll(/npm run (?:-s )?([a-z:]+)/g))
      assert.ok(scripts[name ?? ""], `${file}: npm run ${name}`);
  }
  const commands = (await createProgram()).commands.map((command) => command.name());
  assert.deepEqual(
    rowsOf(await read("operating"), "Commands").map(([name]) => name),
    commands,
  );
  for (const command of commands) assert.equal(scripts[command], `exec node src/cli/main.ts ${command}`);
});

/** `npm run name -- arguments`, or `inturn name arguments`, up to the end of the code or a comment. */
const COMMAND_LINE = /(?:npm run (?:-s )?([a-z]+)(?: --(?= )|(?=[`\n]))|`inturn ([a-z]+))([^`)\n|#]*)/g;

/** As a shell takes a line apart. */
const wordsOf = (text: string) =>
  Array.from(text.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g), ([, ...of]) => of.find(Boolean) ?? "");

test("the program understands every command of the documents and alerts", async () => {
  const shown = new Set<string>();
  for (const file of [
    "README.md",
    "bench/README.md",
    "deploy/alerts.yml",
    ...(await Array.fromAsync(glob("docs/*.md"))),
  ]) {
    // What a shell would put in.
    const text = (await readFile(file, "utf8")).replaceAll(/"\$\(date.*?\)"/g, "2026-05-01T18:00:00Z");
    for (const [line, byNpm, byName, rest = ""] of text.matchAll(COMMAND_LINE)) {
      const program = await createProgram();
      const name = byNpm ?? byName ?? "";
      if (!program.commands.some((command) => command.name() === name)) continue;
      // Where the text names a command and no more, it does not show how it is called.
      if (rest.trim() === "" && !line.includes("npm run")) continue;
      for (const command of program.commands.flatMap((each) => [each, ...each.commands])) {
        command.action(() => undefined).configureOutput({ writeErr: () => undefined });
      }
      await assert.doesNotReject(program.parseAsync([name, ...wordsOf(rest)], { from: "user" }), `${file}: ${line}`);
      shown.add(line);
    }
  }
  assert.ok(shown.size > 40, `${shown.size}`);
});

test("the README is short, and every link of the documents leads somewhere", async () => {
  assert.ok(readme.split("\n").length <= 150);
  for (const file of ["README.md", "bench/README.md", ...(await Array.fromAsync(glob("docs/*.md")))]) {
    const document = await readFile(file, "utf8");
    for (const [, target = ""] of document.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const [path = "", anchor] = target.split("#");
      const linked = path === "" ? file : join(dirname(file), path);
      const text = anchor === undefined ? "" : await readFile(linked, "utf8");
      await access(linked);
      if (anchor !== undefined) assert.ok(anchorsOf(text).includes(anchor), `${file}: ${target}`);
    }
  }
});

function anchorsOf(document: string): string[] {
  return [...document.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} -]/gu, "")
      .replaceAll(" ", "-"),
  );
}

test("the table of settings is the settings", async () => {
  assert.deepEqual(
    rowsOf(await read("settings")),
    describeSettings().map(({ variable, default: value, description }) => [variable, value, description]),
  );
});

test(
  "the SQL runs as it stands",
  withDatabase(async (db) => {
    const client = new pg.Client({ connectionString: db.url });
    await client.connect();
    const [asking = "", ...none] = blocks("sql");
    assert.deepEqual(none, []);
    const [
      appending = "",
      viewing = "",
      operating = "",
      bulk = "",
      targeting = "",
      pausing = "",
      erasing = "",
      ...more
    ] = blocks("sql", await read("sql"));
    assert.deepEqual(more, []);
    const sql = [asking, appending, viewing, operating, bulk, targeting, pausing];
    for (const text of sql) await client.query(text);
    const list = async () => await db.query("select account_id, events from inturn.account_results order by 1");
    assert.deepEqual(await list(), [
      { account_id: "a1", events: 4 },
      { account_id: "b7", events: 1 },
    ]);
    await client.query(erasing);
    await client.end();
    assert.deepEqual(await list(), [{ account_id: "b7", events: 1 }]);
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
    const [stuck, finding, waiting] = blocks("sh", await readFile("docs/reading.md", "utf8"));
    assert.match(await run(finding ?? ""), /"accountId":"a1","seq":1,"eventId":"evt-1".*"events":\[\],"looked"/);
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
