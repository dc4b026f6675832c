import { execFileSync, spawn } from "node:child_process";
import { chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { findFreePort } from "../../src/embedded/embedded-postgres.ts";
import { findServerUser } from "../../src/embedded/postgres-binaries.ts";
import { until } from "./until.ts";

/** A pooler in front of a database. */
export interface PgBouncer {
  readonly url: string;
  /** Kills it, and starts it again this much later. */
  restart(afterMs: number): Promise<void>;
  stop(): void;
}

/** Why tests with a pooler are left out; false where there is one. */
export const WITHOUT_PGBOUNCER: string | false = (() => {
  try {
    execFileSync("pgbouncer", ["--version"], { stdio: "ignore" });
    return false;
  } catch {
    return "pgbouncer is not installed";
  }
})();

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client(url);
  client.on("error", () => undefined);
  const isThere = await client.connect().then(
    () => true,
    () => false,
  );
  await client.end().catch(() => undefined);
  return isThere;
}

/** Starts PgBouncer in front of a database. @param more lines of its configuration */
export async function startPgBouncer(databaseUrl: string, more: readonly string[]): Promise<PgBouncer> {
  const { hostname, port: serverPort, username, password, pathname } = new URL(databaseUrl);
  const user = await findServerUser();
  const folder = mkdtempSync(join(tmpdir(), "inturn-pgbouncer-"));
  const port = await findFreePort();
  const file = join(folder, "pgbouncer.ini");
  const secret = password === "" ? "" : ` password='${decodeURIComponent(password)}'`;
  const server = `host=${hostname} port=${serverPort} user=${username}${secret}`;
  writeFileSync(
    file,
    [
      "[databases]",
      `${pathname.slice(1)} = ${server}`,
      "[pgbouncer]",
      "listen_addr = 127.0.0.1",
      `listen_port = ${port}`,
      "unix_socket_dir =",
      "auth_type = any",
      ...more,
    ].join("\n"),
  );
  for (const path of [folder, file]) if (user.uid !== undefined) chownSync(path, user.uid, user.gid ?? user.uid);
  const start = () => spawn("pgbouncer", [file], { ...user, cwd: folder, stdio: "ignore" });
  let child = start();
  const url = `postgres://${username}@127.0.0.1:${port}${pathname}`;
  await until("the pooler answers", async () => await answers(url));
  return {
    url,
    restart: async (afterMs) => {
      child.kill("SIGKILL");
      await sleep(afterMs);
      child = start();
      await until("the pooler answers again", async () => await answers(url));
    },
    stop: () => {
      child.kill("SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
