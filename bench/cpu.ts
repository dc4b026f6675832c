/**
 * The CPU time of processes, from /proc: Linux only.
 */
import { readdir, readFile } from "node:fs/promises";
import type pg from "pg";

/** Of one tick of the times in /proc. */
const TICK_SECONDS = 0.01;

/** Of each part of a system under load, in seconds. */
export interface CpuSeconds {
  /** This process: the load generator, where there is one. */
  readonly load: number;
  readonly api: number;
  readonly workers: number;
  readonly postgres: number;
}

/** What this process, the API and the workers that it has started, and PostgreSQL have taken so far. */
export async function readCpuSeconds(client: pg.Client): Promise<CpuSeconds> {
  const { rows } = await client.query<{ folder: string }>("select current_setting('data_directory') as folder");
  const postmaster = Number.parseInt(await readFile(`${rows[0]?.folder}/postmaster.pid`, "utf8"), 10);
  const ticks = { load: 0, api: 0, workers: 0, postgres: 0 };
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number)) {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    // The name in brackets may hold spaces.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [user = 0, system = 0, endedUser = 0, endedSystem = 0] = fields.slice(11, 15).map(Number);
    const parent = Number(fields[1]);
    if (pid === postmaster) ticks.postgres += user + system + endedUser + endedSystem;
    else if (parent === postmaster) ticks.postgres += user + system;
    else if (pid === process.pid) ticks.load += user + system;
    else if (parent === process.pid) {
      const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
      ticks[command.includes("\0serve\0") ? "api" : "workers"] += user + system;
    }
  }
  const secondsOf = (part: keyof CpuSeconds) => ticks[part] * TICK_SECONDS;
  return {
    load: secondsOf("load"),
    api: secondsOf("api"),
    workers: secondsOf("workers"),
    postgres: secondsOf("postgres"),
  };
}
