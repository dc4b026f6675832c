/** Two versions side by side. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { runProcess } from "../../support/process.ts";
import type { Bench } from "../bench.ts";
import { type Scenario, sendCommonTraffic } from "../scenario.ts";

const run = promisify(execFile);

const PROJECT = new URL("../../..", import.meta.url).pathname;

/** The version that made the schema as the first release has it: until then the assembled migration is changed where it is. */
const OLD_VERSION = "18fd1e8";

/** Old servers and workers run while the new migration does, then both versions work side by side, then the old ones leave. */
export const twoVersions: Scenario = {
  name: "two-versions",
  fault: 26,
  promise: "nothing is lost or reordered while an upgrade is rolled out",
  startsEmpty: true,
  whyNot: async () =>
    await run("git", ["-C", PROJECT, "cat-file", "-e", OLD_VERSION]).then(
      () => undefined,
      () => `there is no history here with version ${OLD_VERSION}`,
    ),
  async run(bench) {
    const old = await checkOut(bench);
    await migrate(bench, old);
    const veterans = await bench.start({ servers: 1, workers: 2 }, { main: old, isOld: true });
    sendCommonTraffic(bench, 5_000);
    await sleep(bench.random.int(300, 1_000));
    await migrate(bench, undefined);
    await bench.start({ servers: 1, workers: 2 });
    await sleep(bench.random.int(500, 1_500));
    for (const part of veterans) bench.withdraw(part);
    const ends = await Promise.all(veterans.map((part) => bench.dismiss(part)));
    if (ends.some((end) => end !== 0)) throw new Error(`the old version ended with ${ends.join(", ")}`);
  },
};

async function checkOut(bench: Bench): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "inturn-old-"));
  bench.onHeal(() => rm(folder, { recursive: true, force: true }));
  await run("sh", ["-c", `git -C '${PROJECT}' archive ${OLD_VERSION} | tar -x -C '${folder}'`]);
  await symlink(join(PROJECT, "node_modules"), join(folder, "node_modules"));
  return join(folder, "src/cli/main.ts");
}

async function migrate(bench: Bench, main: string | undefined): Promise<void> {
  const environment = { DATABASE_URL: bench.server.url(bench.database) };
  const { code, stderr } = await runProcess(["migrate"], environment, main === undefined ? {} : { script: main });
  if (code !== 0) throw new Error(`the migration ended with ${code}: ${stderr}`);
}
