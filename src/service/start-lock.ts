import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { codeOf } from "../errors/database.ts";

const RETRY_MS = 50;

/** An owner writes its number at once; a file that stays empty for longer has none. */
const WRITE_MS_MAX = 2_000;

/**
 * Runs `work` while this process alone holds the lock file. A lock whose process is gone is taken over.
 */
export async function withLockFile<Result>(file: string, work: () => Promise<Result>): Promise<Result> {
  while (!(await take(file))) await sleep(RETRY_MS);
  try {
    return await work();
  } finally {
    await rm(file, { force: true });
  }
}

async function take(file: string): Promise<boolean> {
  try {
    await writeFile(file, `${process.pid} ${performance.timeOrigin}`, { flag: "wx" });
    return true;
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
    if (!(await isHeld(file))) await rm(file, { force: true });
    return false;
  }
}

/** Not if its process is gone, or if it has been left empty for a while. */
async function isHeld(file: string): Promise<boolean> {
  const [pid, started] = (await readFile(file, "utf8").catch(() => "")).split(" ").map(Number);
  if (pid === undefined || !(pid > 0)) return await isYoung(file);
  // Our number, but not us: in a container the same number comes back after a restart.
  if (pid === process.pid) return started === performance.timeOrigin;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}

async function isYoung(file: string): Promise<boolean> {
  const found = await stat(file).catch(() => undefined);
  return found !== undefined && Date.now() - found.mtimeMs < WRITE_MS_MAX;
}
