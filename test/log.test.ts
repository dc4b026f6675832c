import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { createLog } from "../src/log/log.ts";

/** A log, and the lines that it writes. */
function createRecorded() {
  const lines: Record<string, unknown>[] = [];
  const write = (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>);
  return { log: createLog({ level: "info", name: "serve", destination: { write } }), lines };
}

test("a line names its part and its process, and a level that is not wanted writes none", () => {
  const { log, lines } = createRecorded();
  log.debug("too much");
  log.info({ accountId: "a1", requestId: "r1" }, "done");
  assert.equal(lines.length, 1);
  const { time: _, ...line } = lines[0] ?? {};
  assert.deepEqual(line, { level: 30, name: "serve", pid: process.pid, accountId: "a1", requestId: "r1", msg: "done" });
});

test("what PostgreSQL quotes of the data that it was given does not come into the log", () => {
  const { log, lines } = createRecorded();
  const cause = Object.assign(new Error("invalid input syntax"), { code: "22P02", detail: "secret", where: "secret" });
  const error = Object.assign(new Error("the statement failed", { cause }), { params: ["secret"], query: "secret" });
  log.error({ err: error }, "a request failed");
  log.error({ err: cause }, "a request failed");
  assert.doesNotMatch(JSON.stringify(lines), /secret/);
  assert.match(JSON.stringify(lines[1]), /22P02/);
});

test("on a terminal a line is for people, elsewhere it is JSON", {
  skip: hasScript() ? false : "there is no script(1)",
}, () => {
  const code = `import("${new URL("../src/log/log.ts", import.meta.url).href}").then(({ createLog }) =>
    createLog({ level: "info", name: "serve" }).info({ accountId: "a1" }, "listening"))`;
  const environment = { ...process.env, CODE: code, NO_COLOR: "1", TERM: "xterm", FORCE_COLOR: undefined };
  const command = `"${process.execPath}" --input-type=module -e "$CODE"`;
  const onTerminal = execFileSync("script", ["-qec", command, "/dev/null"], { env: environment, encoding: "utf8" });
  assert.match(onTerminal, /^\[?\d\d:\d\d:\d\d\.\d{3}\]? INFO: serve: listening \{"accountId":"a1"\}\r?$/m);
  const piped = execFileSync("sh", ["-c", `${command} 2>&1`], { env: environment, encoding: "utf8" });
  assert.equal((JSON.parse(piped) as { msg: string }).msg, "listening");
});

function hasScript(): boolean {
  try {
    execFileSync("script", ["--version"], { stdio: "ignore" });
    return process.platform === "linux";
  } catch {
    return false;
  }
}
