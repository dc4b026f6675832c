/** The disk under the database is full. */
import { execFile, spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { onExit } from "../exit.ts";
import { type Scenario, sendCommonTraffic } from "../scenario.ts";
import { RECOVERY_MS_MAX } from "./database.ts";

const run = promisify(execFile);

/** Room for a cluster, its template and one run. */
const DISK_MEGABYTES = 140;

/** Small segments of the log, so that it soon needs a new one. */
const SETTINGS = "min_wal_size = 8MB\nmax_wal_size = 16MB\nautovacuum = off\n";

/** A file takes what room is left for a while. */
export const diskFull: Scenario = {
  name: "disk-full",
  fault: 17,
  promise: "503 while there is no room; when there is, everything goes on",
  async whyNot() {
    return process.getuid?.() === 0 &&
      (await run("mountpoint", ["-V"]).then(
        () => true,
        () => false,
      ))
      ? undefined
      : "mounting a small disk takes root";
  },
  async ownServer() {
    const disk = await mkdtemp(join(tmpdir(), "inturn-disk-"));
    await run("mount", ["-t", "tmpfs", "-o", `size=${DISK_MEGABYTES}m`, "tmpfs", disk]);
    const forget = onExit(() => {
      spawnSync("umount", ["-l", disk]);
      rmSync(disk, { recursive: true, force: true });
    });
    await chmod(disk, 0o755);
    return {
      parent: disk,
      settings: SETTINGS,
      initdb: ["--wal-segsize=1"],
      cleanUp: async () => {
        forget();
        await run("umount", ["-l", disk]);
        await rm(disk, { recursive: true, force: true });
      },
    };
  },
  async run(bench) {
    await bench.start({ servers: 1, workers: 2 });
    sendCommonTraffic(bench, 4_000);
    bench.clients.send({
      accounts: ["big"],
      eventsPerAccount: 60,
      overMs: 4_000,
      behaviourOf: () => ({ ballast: "x".repeat(200_000) }),
    });
    await sleep(bench.random.int(300, 1_000));
    const filler = join(bench.server.folder, "filler");
    bench.onHeal(() => rm(filler, { force: true }));
    await fill(filler);
    await sleep(bench.isFull ? 10_000 : 3_000);
    await rm(filler, { force: true });
    await bench.server.start();
    bench.expectRecovery(RECOVERY_MS_MAX);
    const isRefused = bench.clients.answers.has(503) || bench.clients.answers.has(0);
    if (!isRefused) throw new Error("the disk was not full enough: every request was accepted");
  },
};

/** Writes until there is no room, in smaller and smaller pieces. */
async function fill(file: string): Promise<void> {
  for (const bytes of [1_048_576, 4_096]) {
    const piece = Buffer.alloc(bytes);
    let isFull = false;
    while (!isFull)
      isFull = await writeFile(file, piece, { flag: "a" }).then(
        () => false,
        () => true,
      );
  }
}
