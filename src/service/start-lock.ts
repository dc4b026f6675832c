import { readFile, rm, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { codeOf } from "../errors/database.ts";

const RETRY_MS = 50;

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
    await writeFile(file, String(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
    if (!(await isHeld(file))) await rm(file, { force: true });
    return false;
  }
}

async function isHeld(file: string): Promise<boolean> {
  const pid = Number(await readFile(file, "utf8").catch(() => ""));
  // Empty: its owner is just writing its number.
  if (!Number.isInteger(pid) || pid <= 0) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}
