/**
 * Pushing with real processes: to a receiver that fails, is away, and is killed; and to the receivers of `examples/`.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Webhook } from "standardwebhooks";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { runProcess, startProcess } from "./support/process.ts";
import { withoutPython } from "./support/python.ts";
import { until } from "./support/until.ts";

const SECRET = "whsec_bmV3IHNlY3JldCBmb3IgcHVzaGVkIGV2ZW50cw==";

const environmentOf = (db: TestDatabase, more: Record<string, string> = {}) => ({
  DATABASE_URL: db.url,
  INTURN_PUSH_SECRETS: SECRET,
  INTURN_PUSH_NETWORKS: "127.0.0.0/8",
  LOG_LEVEL: "error",
  ...more,
});

async function append(db: TestDatabase, accounts: number, eventsOfEach: number): Promise<void> {
  await db.query(
    `select from inturn.append_events(
       array(select 'a' || a from generate_series(1, $2::integer) as n, generate_series(1, $1::integer) as a),
       array(select to_json(n) from generate_series(1, $2::integer) as n, generate_series(1, $1::integer) as a))`,
    [accounts, eventsOfEach],
  );
}

const pending = async (db: TestDatabase) =>
  (await db.query<{ n: number }>("select sum(last_seq - processed_seq)::integer as n from inturn.accounts"))[0]?.n;

test(
  "10,000 events of 100 accounts reach a receiver that fails, is busy for a while and is killed for a while: in order, each once done",
  withDatabase(async (db) => {
    const webhook = new Webhook(SECRET);
    const done = new Map<string, number[]>();
    const wrong: string[] = [];
    let isBusy = false;
    let server: Server | undefined;
    const listen = async (port: number) => {
      server = createServer((request, response) => {
        const chunks: Buffer[] = [];
        request.on("data", (chunk: Buffer) => chunks.push(chunk));
        request.on("end", () => {
          try {
            const body = Buffer.concat(chunks).toString();
            webhook.verify(body, request.headers as Record<string, string>, { jsonParse: false });
            if (isBusy) return response.writeHead(429, { "retry-after": "1" }).end();
            if (Math.random() < 0.05) return response.writeHead(500).end("not this time");
            const account = String(request.headers["inturn-account"]);
            const seqs = done.get(account) ?? [];
            done.set(account, seqs);
            seqs.push(Number(request.headers["inturn-seq"]));
            if (body !== String(seqs.at(-1))) wrong.push(`${account}/${seqs.at(-1)} has the data ${body}`);
          } catch (error) {
            wrong.push(String(error));
          }
          response.writeHead(204).end();
        });
      });
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
      return (server.address() as AddressInfo).port;
    };
    try {
      const port = await listen(0);
      const push = `http://127.0.0.1:${port}/hook`;
      const settings = environmentOf(db, { INTURN_BACKOFF_MS: "50", INTURN_ATTEMPTS_MAX: "5" });
      await append(db, 100, 100);
      const workers = [1, 2].map(() => startProcess(["work", "--push", push], settings));
      await Promise.all(workers.map((worker) => worker.ready));
      const hasSettled = async (events: number) => ((await pending(db)) ?? 0) <= 10_000 - events;
      await until("a fifth is done", async () => await hasSettled(2_000), 60_000);
      isBusy = true;
      await sleep(5_000);
      isBusy = false;
      await until("a half is done", async () => await hasSettled(5_000), 60_000);
      server?.closeAllConnections();
      await new Promise((resolve) => server?.close(resolve));
      await sleep(5_000);
      await listen(port);
      await until("all is done", async () => await hasSettled(10_000), 90_000).catch(async (error: unknown) => {
        const left = await db.query(
          "select state, head_target, head_error, count(*)::integer as n from inturn.accounts group by 1, 2, 3",
        );
        const targets = await db.query("select * from inturn.targets");
        throw new Error(
          JSON.stringify({
            left,
            targets,
            done: done.size,
            logs: workers.map(({ output }) => output.stderr.slice(-2_000)),
          }),
          { cause: error },
        );
      });
      assert.deepEqual(wrong, []);
      const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
      for (const [account, seqs] of done) {
        // What was answered while the connection went down may come again, at once and before anything else of its account.
        const distinct = seqs.filter((seq, i) => seq !== seqs[i - 1]);
        assert.deepEqual(distinct, hundred, account);
      }
      assert.equal(done.size, 100);
      const rows = await db.query("select state, count(*)::integer as n from inturn.account_results group by 1");
      assert.deepEqual(rows, [{ state: "idle", n: 100 }]);
      assert.deepEqual(
        await db.query("select from inturn.dead_letters union all select from inturn.order_violations"),
        [],
      );
      assert.deepEqual(await Promise.all(workers.map((worker) => worker.stop())), [0, 0]);
    } finally {
      server?.closeAllConnections();
      server?.close();
    }
  }),
);

for (const [name, command, skip] of [
  ["receiver.mjs", process.execPath, false],
  ["receiver.py", "python3", withoutPython],
] as const) {
  test(
    `the receiver of examples/receivers/${name} verifies what is pushed, and refuses what another secret signed`,
    { skip },
    withDatabase(async (db) => {
      const script = new URL(`../examples/receivers/${name}`, import.meta.url).pathname;
      const receiver = spawn(command, [script], {
        env: { ...process.env, NODE_OPTIONS: "", PUSH_SECRETS: SECRET, PORT: "0" },
        stdio: ["ignore", "pipe", "inherit"],
      });
      let printed = "";
      receiver.stdout.setEncoding("utf8").on("data", (text: string) => (printed += text));
      try {
        const port = await until("it listens", () => /listening (\d+)/.exec(printed)?.[1]);
        const push = `http://127.0.0.1:${port}/`;
        await append(db, 2, 3);
        const worker = startProcess(["work", "--push", push], environmentOf(db));
        await worker.ready;
        await until("all is done", async () => (await pending(db)) === 0);
        assert.equal(await worker.stop(), 0);
        for (const account of ["a1", "a2"]) {
          const lines = printed.split("\n").filter((line) => line.startsWith(`${account} `));
          assert.deepEqual(
            lines,
            [1, 2, 3].map((n) => `${account} ${n} 1 event ${n}`),
          );
        }
        const stranger = new Webhook("whsec_c29tZWJvZHkgZWxzZSBrbm93cyBub25lIG9mIGl0");
        const now = new Date();
        const refused = await fetch(push, {
          method: "POST",
          body: "1",
          headers: {
            "webhook-id": "a1/9",
            "webhook-timestamp": String(Math.floor(now.getTime() / 1_000)),
            "webhook-signature": stranger.sign("a1/9", now, "1"),
          },
        });
        assert.equal(refused.status, 401);
      } finally {
        receiver.kill();
      }
    }),
  );
}

test(
  "a handler module pushes the types that have a URL, and handles the others itself",
  withDatabase(async (db) => {
    const got: string[] = [];
    const receiver = createServer((request, response) => {
      got.push(String(request.headers["webhook-id"]));
      response.writeHead(204).end();
    });
    receiver.listen(0, "127.0.0.1");
    await once(receiver, "listening");
    const { port } = receiver.address() as AddressInfo;
    const handler = join(tmpdir(), `inturn-push-${process.pid}.mjs`);
    const eventTypes = { "pay.*": { push: `http://127.0.0.1:${port}/` } };
    writeFileSync(
      handler,
      `export const eventTypes = ${JSON.stringify(eventTypes)};
       export default ({ type }) => { if (type !== "mail.sent") throw new Error("not mine"); };`,
    );
    const worker = startProcess(["work", "--handler", handler], environmentOf(db));
    await worker.ready;
    await db.query(
      "select from inturn.append_events(array['a', 'a', 'a'], array['1', '2', '3']::json[], array['pay.made', 'mail.sent', 'pay.back'])",
    );
    await until("all is done", async () => (await pending(db)) === 0);
    assert.deepEqual(got, ["a/1", "a/3"]);
    assert.equal(await worker.stop(), 0);
    receiver.close();
    rmSync(handler);
  }),
);

test(
  "what cannot be pushed is refused at the start, with what to do",
  withDatabase(async (db) => {
    const work = async (args: string[], more: Record<string, string>) => {
      const ended = await runProcess(["work", ...args], { ...environmentOf(db), ...more });
      return `${ended.code} ${ended.stderr}`;
    };
    const url = "https://receiver.example/";
    assert.match(await work(["--push", url, "--handler", "sleep"], {}), /^1 .*not both.*\[settings_invalid\]/s);
    assert.match(
      await work(["--push", url], { INTURN_PUSH_SECRETS: "" }),
      /Pushed events are signed: set INTURN_PUSH_SECRETS/,
    );
    assert.match(await work(["--push", "ftp://x"], {}), /INTURN_PUSH_URL: must be a URL that begins with https/);
    assert.match(await work(["--push", "https://me:secret@x/"], {}), /must not have a name or a password/);
    assert.match(await work(["--push", url], { INTURN_PUSH_SECRETS: "whsec_short" }), /must be one or two secrets/);
    assert.match(await work(["--push", url], { INTURN_PUSH_NETWORKS: "localhost" }), /must be networks such as/);
  }),
);
