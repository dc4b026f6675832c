/**
 * The package as it ships: packed, installed into an empty folder by npm and by pnpm without running any script, and used there: the
 * command, the examples, and what the docs say of the library.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { withDatabase } from "./support/database.ts";
import { until } from "./support/until.ts";

const run = promisify(execFile);

/** The oldest line of Node that the package supports; its program comes as a package, too. */
const OLD_NODE = `npm:node-${process.platform === "win32" ? "win" : process.platform}-${process.arch}@22`;

const PNPM = resolve("node_modules/pnpm/bin/pnpm.cjs");

/** What the examples tell their readers to install. */
const FOR_EXAMPLES = ["express", "fastify", "kysely", "pg", "hono", "@hono/node-server"];

let folder = "";

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "inturn-packed-"));
  await run("npm", ["pack", "--pack-destination", folder]);
  const [filename = ""] = await readdir(folder);
  const { devDependencies, dependencies } = JSON.parse(await readFile("package.json", "utf8")) as Record<
    "devDependencies" | "dependencies",
    Record<string, string>
  >;
  const versions = FOR_EXAMPLES.map((name) => [name, { ...devDependencies, ...dependencies }[name] ?? ""]);
  const inturn = `file:../${filename}`;
  await prepare("with-npm", { inturn, "node-22": OLD_NODE, ...Object.fromEntries(versions) });
  await prepare("with-pnpm", { inturn });
  const quiet = ["install", "--ignore-scripts", "--prefer-offline"];
  await run("npm", [...quiet, "--no-audit", "--no-fund"], { cwd: join(folder, "with-npm") });
  await run(process.execPath, [PNPM, ...quiet], { cwd: join(folder, "with-pnpm") });
});

after(async () => await rm(folder, { recursive: true, force: true }));

/** An empty project with these dependencies, and a handler of a few lines. */
async function prepare(name: string, dependencies: Record<string, string>): Promise<void> {
  await mkdir(join(folder, name));
  await writeFile(join(folder, name, "package.json"), JSON.stringify({ type: "module", private: true, dependencies }));
  await writeFile(join(folder, name, "handler.mjs"), HANDLER);
  await cp("examples/apps", join(folder, name, "apps"), { recursive: true });
}

const HANDLER = `
import { DoNotRetryError } from "inturn";

export default async (event, { log }) => {
  if (event.data === null) throw new DoNotRetryError("nothing to do");
  console.log(\`handled \${event.accountId}/\${event.seq}: \${JSON.stringify(event.data)}\`);
};
`;

/** A program of an installed project, until the test is done with it. */
async function withProgram(
  project: string,
  command: readonly [string, ...string[]],
  environment: Record<string, string>,
  work: (program: { output: () => string; address: string }) => Promise<void>,
): Promise<void> {
  const [file, ...args] = command;
  const env = { ...process.env, NODE_OPTIONS: "", PORT: "0", ...environment };
  const child = spawn(file, args, {
    cwd: join(folder, project),
    env,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (part: string) => (output += part));
  const ended = once(child, "exit");
  try {
    const address = await until("it listens", () => {
      assert.equal(child.exitCode, null, output);
      const [, url, port] = /(?:at (http:\S+)\/v1\/events|listening on port (\d+))/.exec(output) ?? [];
      return url ?? (port === undefined ? undefined : `http://127.0.0.1:${port}`);
    });
    await work({ output: () => output, address });
    child.kill("SIGTERM");
    const [code, signal] = (await ended) as [number | null, string | null];
    // npx and pnpm pass the signal on, and end by it.
    assert.ok(code === 0 || (signal === "SIGTERM" && file !== process.execPath) || args.includes("exec"), output);
    await until("nothing of it is left", () => !isGroupAlive(child));
  } finally {
    killGroup(child);
  }
}

function isGroupAlive({ pid }: ChildProcess): boolean {
  try {
    return pid !== undefined && process.kill(-pid, 0);
  } catch {
    return false;
  }
}

/** Whatever is left of a program and of what it has started. */
function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // Nothing is left.
  }
}

const post = async (url: string, event: unknown, headers: Record<string, string> = {}) => {
  const type = { "content-type": "application/json" };
  const answer = await fetch(url, { method: "POST", headers: { ...type, ...headers }, body: JSON.stringify(event) });
  const body: unknown = await answer.json().catch(() => undefined);
  return { status: answer.status, body };
};

const read = async (url: string): Promise<unknown> => await (await fetch(url)).json();

/** The folders in front of the path in which programs are looked for. */
const pathOf = (...folders: string[]) => ({ PATH: [...folders, process.env["PATH"]].join(":") });

const WAYS: Record<string, () => { project: string; command: [string, ...string[]]; env: Record<string, string> }> = {
  "npm, this Node": () => ({ project: "with-npm", command: ["npx", "inturn"], env: {} }),
  "npm, Node 22": () => ({
    project: "with-npm",
    command: ["node_modules/.bin/inturn"],
    env: pathOf(join(folder, "with-npm", "node_modules", "node-22", "bin")),
  }),
  pnpm: () => ({ project: "with-pnpm", command: [process.execPath, PNPM, "exec", "inturn"], env: {} }),
};

for (const [name, way] of Object.entries(WAYS)) {
  test(`${name}: a handler of a few lines, the command, one curl, and the handler has run`, async () => {
    const { project, command, env } = way();
    const environment = { ...env, DATABASE_URL: "", LOG_LEVEL: "warn" };
    await withProgram(project, [...command, "start", "--handler", "./handler.mjs"], environment, async (program) => {
      const answer = await post(`${program.address}/v1/events`, { accountId: name, data: { amount: 12 } });
      assert.deepEqual(answer, { status: 202, body: { accountId: name, seq: 1, duplicate: false } });
      await until("it has run", () => program.output().includes(`handled ${name}/1: {"amount":12}`));
    });
  });
}

/** Runs an example with a database of its own. */
const withExample = (
  file: string,
  environment: Record<string, string>,
  work: (address: string) => Promise<void>,
): (() => Promise<void>) =>
  withDatabase(
    async ({ url }) =>
      await withProgram(
        "with-npm",
        [process.execPath, `apps/${file}`],
        { ...environment, DATABASE_URL: url },
        (program) => work(program.address),
      ),
    { empty: true },
  );

test(
  "express and pg: an order and its event are one transaction, and each is counted once",
  withExample("express-pg.ts", {}, async (address) => {
    for (const amount of [12, 30.5]) {
      assert.equal((await post(`${address}/orders`, { customer: "ada", amount })).status, 201);
    }
    const refused = await post(`${address}/orders`, { customer: "ada", amount: null });
    assert.equal(refused.status, 500);
    const isCounted = async () => ((await read(`${address}/customers/ada`)) as { orders: number }).orders === 2;
    await until("both are counted", isCounted);
    assert.deepEqual(await read(`${address}/customers/ada`), { orders: 2, amount: "42.5" });
    assert.equal((await fetch(`${address}/inturn/v1/accounts/ada`)).status, 401);
  }),
);

test(
  "fastify and kysely: a device's readings in batches, the last one is kept",
  withExample("fastify-kysely.ts", {}, async (address) => {
    const readings = Array.from({ length: 250 }, (_, i) => i / 2);
    const { status } = await post(`${address}/devices/boiler/readings`, readings);
    assert.equal(status, 202);
    const latest = { device: "boiler", value: 124.5, readings: 250 };
    await until(
      "all are handled",
      async () => JSON.stringify(await read(`${address}/devices/boiler`)) === JSON.stringify(latest),
    );
    assert.equal((await post(`${address}/inturn/v1/events`, { accountId: "a", data: 1 })).status, 401);
  }),
);

test(
  "hono: the API behind the app's own check",
  withExample("hono.ts", { ADMIN_PASSWORD: "secret" }, async (address) => {
    const event = { accountId: "a1", data: 1 };
    assert.equal((await post(`${address}/inturn/v1/events`, event)).status, 401);
    const authorization = `Basic ${Buffer.from("admin:secret").toString("base64")}`;
    assert.equal((await post(`${address}/inturn/v1/events`, event, { authorization })).status, 202);
    await until("it is handled", async () => JSON.stringify(await read(`${address}/handled`)) === '["a1/1"]');
    const page = await fetch(`${address}/inturn/`, { headers: { authorization } });
    assert.match(await page.text(), /href="\/inturn\/accounts"/);
  }),
);

test("telegram: updates that come twice are stored once, and each chat is answered in its order", async () => {
  const sent: { chat_id: number; text: string }[] = [];
  let refusals = 1;
  const telegram = createServer((request, response) => {
    void text(request).then((body) => {
      assert.equal(request.url, "/bot123:abc/sendMessage");
      if (refusals-- > 0) return response.writeHead(429).end('{"ok":false,"parameters":{"retry_after":1}}');
      sent.push(JSON.parse(body) as (typeof sent)[number]);
      return response.end('{"ok":true}');
    });
  }).listen(0, "127.0.0.1");
  await once(telegram, "listening");
  const environment = {
    TELEGRAM_API: `http://127.0.0.1:${(telegram.address() as AddressInfo).port}`,
    TELEGRAM_TOKEN: "123:abc",
    TELEGRAM_SECRET: createHmac("sha256", "x").update("y").digest("hex"),
  };
  try {
    await withExample("telegram-bot.ts", environment, async (address) => {
      const update = (id: number, chat: number) => ({
        update_id: id,
        message: { message_id: id, date: 0, chat: { id: chat, type: "private" }, text: `hello ${id}` },
      });
      const secret = { "x-telegram-bot-api-secret-token": environment.TELEGRAM_SECRET };
      assert.equal(
        (await post(`${address}/telegram`, update(1, 7), { ...secret, "x-telegram-bot-api-secret-token": "no" }))
          .status,
        401,
      );
      for (const [id, chat] of [
        [1, 7],
        [2, 7],
        [2, 7],
        [3, 8],
        [4, 7],
      ] as const) {
        assert.equal((await post(`${address}/telegram`, update(id, chat), secret)).status, 200);
      }
      await until("all are answered", () => sent.length === 4);
      const textsOf = (chat: number) => sent.filter(({ chat_id: id }) => id === chat).map((message) => message.text);
      assert.deepEqual(textsOf(7), ["1: hello 1", "2: hello 2", "3: hello 4"]);
      assert.deepEqual(textsOf(8), ["1: hello 3"]);
    })();
  } finally {
    telegram.closeAllConnections();
    telegram.close();
  }
});

test(
  "a route of Next.js stores events, and a worker of the command handles them",
  withDatabase(
    async (db) => {
      const environment = { DATABASE_URL: db.url, INGEST_KEY: "k".repeat(32), LOG_LEVEL: "info" };
      const cwd = join(folder, "with-npm");
      await run("npx", ["inturn", "migrate"], { cwd, env: { ...process.env, NODE_OPTIONS: "", ...environment } });
      const framework = `
        import { createServer } from "node:http";
        import { getRequestListener } from "@hono/node-server";
        import { POST } from "./apps/next-route.ts";
        const server = createServer(getRequestListener(POST)).listen(0, () =>
          console.log("listening on port " + server.address().port));
        process.once("SIGTERM", () => process.exit(0));`;
      const route: [string, ...string[]] = [process.execPath, "--input-type=module", "-e", framework];
      await withProgram("with-npm", route, environment, async ({ address }) => {
        const event = { accountId: "a1", data: { amount: 12 } };
        assert.equal((await post(`${address}/inturn/v1/events`, event)).status, 401);
        const authorization = `Bearer ${environment.INGEST_KEY}`;
        assert.equal((await post(`${address}/inturn/v1/events`, event, { authorization })).status, 202);
      });
      const worker = spawn("npx", ["inturn", "work", "--handler", "./handler.mjs"], {
        cwd,
        env: { ...process.env, NODE_OPTIONS: "", DATABASE_URL: db.url, LOG_LEVEL: "warn" },
        stdio: "ignore",
        detached: true,
      });
      const ended = once(worker, "exit");
      try {
        await until(
          "it is handled",
          async () => (await db.query("select from inturn.events where outcome = 'processed'")).length === 1,
        );
      } finally {
        worker.kill("SIGTERM");
        await ended;
        killGroup(worker);
      }
    },
    { empty: true },
  ),
);

test("a program of CommonJS gets it by require, and a handler is tested on an embedded PostgreSQL", async () => {
  const script = `
    const { startTestInturn } = require("inturn/testing");
    const { createInturn, InturnError } = require("inturn");
    void (async () => {
      const seen = [];
      const inturn = await startTestInturn({ handler: (event) => void seen.push(event.data) });
      await inturn.append([1, 2, 3].map((data) => ({ accountId: "a", data })));
      await inturn.settled();
      await inturn.stop();
      console.log(JSON.stringify({ seen, is: typeof createInturn, error: InturnError.name }));
    })();`;
  const cwd = join(folder, "with-npm");
  await writeFile(join(cwd, "try.cjs"), script);
  const { stdout } = await run(process.execPath, ["try.cjs"], { cwd, env: { ...process.env, NODE_OPTIONS: "" } });
  assert.deepEqual(JSON.parse(stdout), { seen: [1, 2, 3], is: "function", error: "InturnError" });
});
