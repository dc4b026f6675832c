/** The power fails: what was not on the disk is gone, and every process with it. */
import { execFile, spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { chmod, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { until } from "../../support/until.ts";
import { onExit } from "../exit.ts";
import { type Scenario, sendCommonTraffic } from "../scenario.ts";
import { RECOVERY_MS_MAX } from "./database.ts";

const run = promisify(execFile);

const DISK_BYTES = 400 * 1_048_576;

/** The EXT4_IOC_SHUTDOWN ioctl with NOLOGFLUSH: from now on nothing reaches the disk, not even the file system's journal. */
const CUT = `
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack("I", 2))
`;

/**
 * PostgreSQL runs on a disk of its own, an ext4 file system in a file; its power is cut under load, and comes back.
 *
 * @param settings lines of postgresql.conf
 */
export function createPowerCut(settings: string): Scenario {
  return {
    name: "power-cut",
    fault: 10,
    promise: "what was acknowledged was on the disk",
    whyNot: whyNoDisk,
    ownServer: async () => ({ ...(await mountDisk()), settings }),
    async run(bench) {
      const disk = dirname(bench.server.folder);
      await run("sync", ["-f", disk]);
      await bench.start({ servers: 1, workers: 2 });
      sendCommonTraffic(bench, 4_000);
      await sleep(bench.random.int(1_000, 2_500));
      await run("python3", ["-c", CUT, disk]);
      await bench.server.kill();
      await until(
        "the disk is free",
        async () =>
          await run("umount", [disk]).then(
            () => true,
            () => false,
          ),
      );
      await run("mount", ["-o", "loop", imageOf(disk), disk]);
      await bench.server.start();
      bench.expectRecovery(RECOVERY_MS_MAX);
    },
  };
}

/** With PostgreSQL's settings as they come. */
export const powerCut: Scenario = createPowerCut("");

const imageOf = (disk: string) => `${disk}.img`;

async function whyNoDisk(): Promise<string | undefined> {
  try {
    const { cleanUp } = await mountDisk();
    await cleanUp();
    await run("python3", ["--version"]);
    return undefined;
  } catch {
    return "it takes root, loop devices, mkfs.ext4 and python3";
  }
}

async function mountDisk(): Promise<{ parent: string; cleanUp: () => Promise<void> }> {
  const disk = await mkdtemp(join(tmpdir(), "inturn-disk-"));
  await writeFile(imageOf(disk), "");
  await truncate(imageOf(disk), DISK_BYTES);
  const forget = onExit(() => {
    spawnSync("umount", ["-l", disk]);
    for (const path of [disk, imageOf(disk)]) rmSync(path, { recursive: true, force: true });
  });
  const cleanUp = async () => {
    forget();
    await run("umount", ["-l", disk]).catch(() => undefined);
    await Promise.all([rm(disk, { recursive: true, force: true }), rm(imageOf(disk))]);
  };
  try {
    await run("mkfs.ext4", ["-q", imageOf(disk)]);
    await run("mount", ["-o", "loop", imageOf(disk), disk]);
    await chmod(disk, 0o755);
    return { parent: disk, cleanUp };
  } catch (error) {
    await cleanUp();
    throw error;
  }
}
