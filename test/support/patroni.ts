/**
 * A cluster as production has it: two PostgreSQL servers under Patroni, etcd, and HAProxy with the configuration of docs/production.md in front.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { findFreePort } from "../../src/embedded/embedded-postgres.ts";
import { findServerUser } from "../../src/embedded/postgres-binaries.ts";
import { until } from "./until.ts";

const PROGRAMS = { patroni: "--version", haproxy: "-v", etcd: "--version" };

/** Why tests with a cluster are left out; false where everything is there. */
export const WITHOUT_PATRONI: string | false = (() => {
  try {
    for (const [program, flag] of Object.entries(PROGRAMS)) execFileSync(program, [flag], { stdio: "ignore" });
    return false;
  } catch {
    return `${Object.keys(PROGRAMS).join(", ")} are not all installed`;
  }
})();

interface Node {
  readonly name: string;
  readonly child: ChildProcess;
  readonly folder: string;
  readonly apiPort: number;
}

/** A running cluster. */
export interface Cluster {
  /** Through HAProxy, to the primary of the moment. */
  readonly url: string;
  /** Kills the primary's PostgreSQL and its Patroni, and resolves when the other one is the primary. */
  killPrimary(): Promise<void>;
  stop(): void;
}

/** Starts it. @param bin the folder of PostgreSQL's programs */
export async function startCluster(bin: string): Promise<Cluster> {
  const user = await findServerUser();
  const folder = mkdtempSync(join(tmpdir(), "inturn-patroni-"));
  const own = (path: string) => user.uid !== undefined && chownSync(path, user.uid, user.gid ?? user.uid);
  own(folder);
  const [client, peer, front, ...rest] = await Promise.all(Array.from({ length: 7 }, () => findFreePort()));
  const [onePort = 0, oneApi = 0, twoPort = 0, twoApi = 0] = rest;
  const start = (program: string, args: string[]) => spawn(program, args, { ...user, cwd: folder, stdio: "ignore" });
  const etcdUrl = `http://127.0.0.1:${client}`;
  const etcd = start("etcd", [
    `--data-dir=${join(folder, "etcd")}`,
    `--listen-client-urls=${etcdUrl}`,
    `--advertise-client-urls=${etcdUrl}`,
    `--listen-peer-urls=http://127.0.0.1:${peer}`,
    `--initial-advertise-peer-urls=http://127.0.0.1:${peer}`,
    `--initial-cluster=default=http://127.0.0.1:${peer}`,
  ]);
  await until("etcd answers", async () => await isOk(`${etcdUrl}/health`));
  const startNode = (name: string, port: number, apiPort: number): Node => {
    const home = join(folder, name);
    mkdirSync(home);
    own(home);
    const file = join(folder, `${name}.json`);
    writeFileSync(file, JSON.stringify(configure({ name, home, port, apiPort, etcd: `127.0.0.1:${client}`, bin })));
    own(file);
    return { name, child: start("patroni", [file]), folder: home, apiPort };
  };
  const nodes = [startNode("one", onePort, oneApi)];
  const primary = async () => {
    for (const node of nodes) if (await isOk(`http://127.0.0.1:${node.apiPort}/primary`)) return node;
    return undefined;
  };
  await until("there is a primary", primary, 60_000);
  nodes.push(startNode("two", twoPort, twoApi));
  await until("commits wait for the standby", async () => await isOk(`http://127.0.0.1:${twoApi}/synchronous`), 60_000);
  const proxyFile = join(folder, "haproxy.cfg");
  writeFileSync(
    proxyFile,
    proxyOf(front ?? 0, [
      [onePort, oneApi],
      [twoPort, twoApi],
    ]),
  );
  own(proxyFile);
  const haproxy = start("haproxy", ["-f", proxyFile]);
  const url = `postgres://postgres:secret@127.0.0.1:${front}/postgres`;
  // Until its first checks it takes every server for a primary.
  const asked = Array.from({ length: 4 }, () => url);
  await until("the proxy leads to the primary alone", async () =>
    (await Promise.all(asked.map(isPrimary))).every(Boolean),
  );
  const stop = () => {
    for (const child of [haproxy, ...nodes.map((node) => node.child), etcd]) child.kill("SIGKILL");
    for (const node of nodes) killPostgres(node);
    rmSync(folder, { recursive: true, force: true });
  };
  return {
    url,
    async killPrimary() {
      const old = await primary();
      if (old === undefined) throw new Error("there is no primary");
      old.child.kill("SIGKILL");
      killPostgres(old);
      await until("the other one is the primary", async () => (await primary()) !== undefined, 60_000);
    },
    stop,
  };
}

async function isOk(url: string): Promise<boolean> {
  return await fetch(url).then(
    ({ ok }) => ok,
    () => false,
  );
}

async function isPrimary(url: string): Promise<boolean> {
  const client = new pg.Client(url);
  client.on("error", () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ standby: boolean }>("select pg_is_in_recovery() as standby");
    return rows[0]?.standby === false;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

function killPostgres({ folder }: Node): void {
  try {
    const pid = Number.parseInt(readFileSync(join(folder, "data", "postmaster.pid"), "utf8"), 10);
    // Its children end when they notice; they write no more, for the postmaster holds their socket.
    execFileSync("pkill", ["-KILL", "-P", String(pid)]);
    process.kill(pid, "SIGKILL");
  } catch {
    // It is gone.
  }
}

function configure(node: {
  name: string;
  home: string;
  port: number;
  apiPort: number;
  etcd: string;
  bin: string;
}): object {
  const { name, home, port, apiPort, etcd, bin } = node;
  return {
    scope: "inturn",
    name,
    restapi: { listen: `127.0.0.1:${apiPort}`, connect_address: `127.0.0.1:${apiPort}` },
    etcd3: { hosts: etcd },
    bootstrap: {
      // The shortest that Patroni takes.
      dcs: {
        ttl: 20,
        loop_wait: 1,
        retry_timeout: 3,
        synchronous_mode: true,
        postgresql: { parameters: { max_connections: 200 } },
      },
      initdb: [{ encoding: "UTF8" }, { locale: "C" }],
    },
    postgresql: {
      listen: `127.0.0.1:${port}`,
      connect_address: `127.0.0.1:${port}`,
      data_dir: join(home, "data"),
      bin_dir: bin,
      pgpass: join(home, "pgpass"),
      pg_hba: ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
      parameters: { unix_socket_directories: home },
      authentication: {
        superuser: { username: "postgres", password: "secret" },
        replication: { username: "replicator", password: "secret" },
      },
    },
  };
}

/** As docs/production.md has it, but for the addresses. */
function proxyOf(port: number, nodes: readonly (readonly [port: number, apiPort: number])[]): string {
  const document = readFileSync(new URL("../../docs/production.md", import.meta.url), "utf8");
  const [, block = ""] = /```text\n(listen inturn\n[^`]+)```/.exec(document) ?? [];
  const lines = block
    .trimEnd()
    .split("\n")
    .filter((line) => !/^\s*(bind|server) /.test(line));
  const servers = nodes.map(([of, api], i) => `  server node${i} 127.0.0.1:${of} check port ${api}`);
  return [
    "defaults",
    "  mode tcp",
    "  timeout connect 2s",
    "  timeout client 1h",
    "  timeout server 1h",
    ...lines,
    `  bind 127.0.0.1:${port}`,
    ...servers,
    "",
  ].join("\n");
}
