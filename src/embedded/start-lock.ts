import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { codeOf } from "../errors/database.ts";

/** Between two looks. */
const RETRY_MS = 50;

/** The name of the file in the folder while the lock is free. */
const FREE = "free";

/** How this process calls itself. Numbers of processes come back after a restart, in a container the very same: the start tells them apart. */
const OURS = `${process.pid}-${performance.timeOrigin}`;

/**
 * Runs `work` while this process alone holds the lock. A lock whose process is gone is taken over.
 *
 * The lock is a folder with one file, whose name says who holds it. Taking it, taking it over and letting it go are each a
 * rename of that file, from the very name that was seen: it fails for every process but one, and for every process that saw an older name.
 *
 * @param options.retryMs between two looks while somebody else has it; 50 unless told
 */
export async function withLock<Result>(
  folder: string,
  work: () => Promise<Result>,
  options: { retryMs?: number } = {},
): Promise<Result> {
  const { retryMs = RETRY_MS } = options;
  while (!(await take(folder))) await sleep(retryMs);
  try {
    return await work();
  } finally {
    await move(folder, OURS, FREE);
  }
}

/** Makes the folder with its file in one step, so that there are never two files and never none. */
async function make(folder: string): Promise<void> {
  await mkdir(dirname(folder), { recursive: true });
  const fresh = await mkdtemp(join(dirname(folder), `${basename(folder)}-`));
  await writeFile(join(fresh, FREE), "");
  try {
    await rename(fresh, folder);
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    if (!["ENOTEMPTY", "EEXIST", "EPERM"].includes(codeOf(error) ?? "")) throw error;
  }
}

async function take(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch(async (error: unknown) => {
    if (codeOf(error) !== "ENOENT") throw error;
    await make(folder);
    return [];
  });
  const [holder] = names;
  if (holder === undefined || (holder !== FREE && isAlive(holder))) return false;
  return await move(folder, holder, OURS);
}

/** Whether the file had the name. */
async function move(folder: string, from: string, to: string): Promise<boolean> {
  try {
    await rename(join(folder, from), join(folder, to));
    return true;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw error;
  }
}

function isAlive(holder: string): boolean {
  const pid = Number.parseInt(holder, 10);
  if (pid === process.pid) return holder === OURS;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}
