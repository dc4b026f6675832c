/**
 * A process that takes the start lock again and again, from several places at once. It tells its parent when it has it, and
 * whether another living process is inside as well.
 */
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { withLock } from "../../src/embedded/start-lock.ts";

const CALLERS = 6;

const [folder = ""] = process.argv.slice(2);
const inside = join(folder, "inside");
const ours = join(inside, String(process.pid));

const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

async function enter(): Promise<void> {
  await writeFile(ours, "", { flag: "wx" });
  process.send?.({ ready: true, others: [] });
  await sleep(Math.random() * 4);
  const pids = (await readdir(inside)).map(Number).filter((pid) => pid !== process.pid);
  await rm(ours);
  process.send?.({ ready: true, others: pids.filter(isAlive) });
}

async function takeAgainAndAgain(): Promise<never> {
  for (;;) await withLock(join(folder, "lock"), enter, { retryMs: 1 });
}

await Promise.all(Array.from({ length: CALLERS }, takeAgainAndAgain));
