/**
 * A PostgreSQL server of the suite's own, durable as PostgreSQL ships it, that can be stopped, killed and frozen.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { appendFile, chown, mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { migrateDatabase } from "../../src/db/migrate.ts";
import { openDatabase } from "../../src/db/pool.ts";
import { applyRoles, planRoles } from "../../src/db/roles.ts";
import { findFreePort } from "../../src/embedded/embedded-postgres.ts";
import { findServerUser, preparePostgresBinaries, type ServerUser } from "../../src/embedded/postgres-binaries.ts";
import { until } from "../support/until.ts";
import { onExit } from "./exit.ts";

/** How PostgreSQL may be stopped: `immediate` is a crash, without a checkpoint. */
export type StopMode = "fast" | "immediate";

/** The superuser, for the suite. The processes under test log in as roles that may do what they are for, and no more; the owner migrates. */
const ADMIN = "postgres";
const LOGINS = { serve: ["api", ["ingest", "read", "operate"]], work: ["worker", ["work"]] } as const;

/** The roles as which the processes under test log in. */
export const LOGIN_NAMES: readonly string[] = Object.values(LOGINS).map(([name]) => name);
const OWNER = "inturn";
const TEMPLATE = "inturn_template";

/** A second loopback address, for the process whose link is cut by the kernel. */
export const CUTTABLE_HOST = "127.0.0.2";

const CONFIGURATION = `
unix_socket_directories = ''
max_connections = 400
shared_buffers = 64MB
max_wal_size = 1GB
checkpoint_timeout = 30min
jit = off
`;

/** Where and how a server is made. */
export interface ServerOptions {
  /** Where its data goes; the folder of temporary files unless told. */
  readonly parent?: string;
  /** Lines of postgresql.conf. */
  readonly settings?: string;
  /** The folder of PostgreSQL's programs; those of the package unless told. */
  readonly bin?: string;
  /** More arguments of initdb. */
  readonly initdb?: readonly string[];
}

/** A server with its own data folder. */
export class FaultServer {
  readonly port: number;
  readonly folder: string;
  readonly #bin: string;
  readonly #user: ServerUser;
  #postmaster: ChildProcess | undefined;
  #forget: () => void = () => undefined;
  #ended: Promise<unknown> = Promise.resolve();

  private constructor(folder: string, port: number, bin: string, user: ServerUser) {
    this.folder = folder;
    this.port = port;
    this.#bin = bin;
    this.#user = user;
  }

  /** Makes a cluster with a migrated template and starts it. */
  static async create(options: ServerOptions = {}): Promise<FaultServer> {
    const user = await findServerUser();
    const bin = options.bin ?? (await preparePostgresBinaries(user));
    const folder = await mkdtemp(join(options.parent ?? tmpdir(), "inturn-faults-"));
    if (user.uid !== undefined && user.gid !== undefined) await chown(folder, user.uid, user.gid);
    const server = new FaultServer(folder, await findFreePort(), bin, user);
    server.#forget = onExit(() => {
      server.#postmaster?.kill("SIGQUIT");
      rmSync(folder, { recursive: true, force: true });
    });
    await server.#run("initdb", [
      "-D",
      server.#data,
      "-U",
      ADMIN,
      "--auth=trust",
      "--encoding=UTF8",
      "--no-locale",
      "--no-sync",
      ...(options.initdb ?? []),
    ]);
    await appendFile(join(server.#data, "postgresql.conf"), `${CONFIGURATION}${options.settings ?? ""}\n`);
    await server.start();
    await server.query(`create role ${OWNER} login`);
    await server.query(`create database ${TEMPLATE} owner ${OWNER}`);
    await migrateDatabase(server.url(TEMPLATE));
    await server.#createLogins();
    await server.query("checkpoint");
    return server;
  }

  /**
   * Makes a standby of this server that follows it; meanwhile this one is away.
   *
   * @param options.isSynchronous whether a commit waits until the standby has it on its disk
   */
  async createStandby(options: { isSynchronous: boolean }): Promise<FaultServer> {
    await this.stop("fast");
    const folder = await mkdtemp(join(tmpdir(), "inturn-standby-"));
    const standby = new FaultServer(folder, await findFreePort(), this.#bin, this.#user);
    standby.#forget = onExit(() => {
      standby.#postmaster?.kill("SIGQUIT");
      rmSync(folder, { recursive: true, force: true });
    });
    await promisify(execFile)("cp", ["-a", `${this.folder}/.`, folder]);
    await writeFile(join(standby.#data, "standby.signal"), "");
    const primary = `host=127.0.0.1 port=${this.port} user=${ADMIN}`;
    await appendFile(join(standby.#data, "postgresql.conf"), `primary_conninfo = '${primary}'\n`);
    await this.start();
    await standby.start();
    await until("the standby follows", async () => await this.isFollowed("async"));
    if (!options.isSynchronous) return standby;
    await this.query("alter system set synchronous_standby_names = '*'");
    await this.query("select pg_reload_conf()");
    await until("commits wait for the standby", async () => await this.isFollowed("sync"));
    return standby;
  }

  /** Whether a standby receives what is written here, in this way. */
  async isFollowed(how: "async" | "sync"): Promise<boolean> {
    const found = await this.query("select from pg_stat_replication where state = 'streaming' and sync_state = $1", [
      how,
    ]);
    return found.length > 0;
  }

  /** A standby stays behind: as one whose link is slow, for ever. */
  async stopFollowing(): Promise<void> {
    await this.query("alter system set primary_conninfo = ''");
    await this.query("select pg_reload_conf()");
    await until(
      "it hears nothing more",
      async () => (await this.query("select from pg_stat_wal_receiver")).length === 0,
    );
  }

  /** A standby becomes a primary. Commits wait for nobody any more. */
  async promote(): Promise<void> {
    await this.query("select pg_promote()");
  }

  get #data(): string {
    return join(this.folder, "data");
  }

  async #createLogins(): Promise<void> {
    const owner = openDatabase({
      url: this.adminUrl(TEMPLATE),
      name: "faults",
      connectionsMax: 1,
      onError: () => undefined,
    });
    await applyRoles(owner, await planRoles(owner, "inturn_"));
    await owner.end();
    for (const [login, duties] of Object.values(LOGINS)) {
      await this.query(`create role ${login} login in role ${duties.map((duty) => `inturn_${duty}`).join(", ")}`);
    }
  }

  /** The address of a database for a process under test; by default for the owner, and straight, without a proxy. */
  url(database: string, address: { host?: string; port?: number; kind?: "serve" | "work" | undefined } = {}): string {
    const { host = "127.0.0.1", port = this.port, kind } = address;
    return `postgres://${kind === undefined ? OWNER : LOGINS[kind][0]}@${host}:${port}/${database}`;
  }

  /** The address of a database for the suite itself. */
  adminUrl(database: string): string {
    return `postgres://${ADMIN}@127.0.0.1:${this.port}/${database}`;
  }

  /** Runs a statement as superuser over a connection of its own. */
  async query<Row extends pg.QueryResultRow>(
    text: string,
    values: unknown[] = [],
    database = "postgres",
    withinMs = 20_000,
  ): Promise<Row[]> {
    const client = new pg.Client({
      connectionString: this.adminUrl(database),
      query_timeout: withinMs,
      connectionTimeoutMillis: 5_000,
    });
    client.on("error", () => undefined);
    await client.connect();
    try {
      return (await client.query<Row>(text, values)).rows;
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  /** Clones the template. */
  async createDatabase(name: string, options: { empty?: boolean } = {}): Promise<void> {
    const template = options.empty === true ? "template0" : TEMPLATE;
    await this.query(`create database ${name} owner ${OWNER} template ${template}`);
  }

  /** Drops a database, whoever uses it. */
  async dropDatabase(name: string): Promise<void> {
    await this.query(`drop database if exists ${name} with (force)`);
  }

  /** Starts it and waits until it answers: after a crash it recovers first. Does nothing when it runs. */
  async start(): Promise<void> {
    await until("PostgreSQL answers", async () => {
      // Processes that a kill has left behind keep another one from starting, for a moment.
      if (this.#postmaster === undefined) await this.#spawn();
      return await this.query("select 1").then(
        () => true,
        () => false,
      );
    });
  }

  /** Stops it and waits for its end. */
  async stop(mode: StopMode = "immediate"): Promise<void> {
    this.#postmaster?.kill(mode === "fast" ? "SIGINT" : "SIGQUIT");
    await this.#ended;
  }

  /** SIGKILL to every one of its processes, the postmaster first. */
  async kill(): Promise<void> {
    const pids = await this.listProcesses();
    this.#postmaster?.kill("SIGKILL");
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has noticed by itself that the postmaster is gone.
      }
    }
    await this.#ended;
  }

  /** The server's processes besides the postmaster. */
  async listProcesses(): Promise<number[]> {
    const children = `/proc/${this.#postmaster?.pid}/task/${this.#postmaster?.pid}/children`;
    const pids = await readFile(children, "utf8").catch(() => "");
    return pids
      .split(" ")
      .map(Number)
      .filter((pid) => pid > 0);
  }

  /** Stops it and removes its data. */
  async remove(): Promise<void> {
    await this.stop("immediate");
    await rm(this.folder, { recursive: true, force: true });
    this.#forget();
  }

  /** What the server wrote to its log last. */
  async readLog(): Promise<string> {
    return (await readFile(join(this.folder, "server.log"), "utf8")).slice(-2_000);
  }

  async #spawn(): Promise<void> {
    const log = await open(join(this.folder, "server.log"), "a");
    const hosts = `listen_addresses=127.0.0.1,${CUTTABLE_HOST}`;
    const child = spawn(join(this.#bin, "postgres"), ["-D", this.#data, "-p", String(this.port), "-c", hosts], {
      ...this.#user,
      cwd: "/",
      stdio: ["ignore", log.fd, log.fd],
      env: { LC_ALL: "C" },
    });
    this.#postmaster = child;
    const { promise, resolve } = Promise.withResolvers<void>();
    child.once("exit", () => {
      if (this.#postmaster === child) this.#postmaster = undefined;
      resolve();
    });
    this.#ended = promise;
    await log.close();
  }

  async #run(tool: string, args: string[]): Promise<void> {
    const log = await open(join(this.folder, "server.log"), "a");
    const child = spawn(join(this.#bin, tool), args, {
      ...this.#user,
      cwd: "/",
      stdio: ["ignore", log.fd, log.fd],
      env: { LC_ALL: "C" },
    });
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    child.once("exit", (code) => resolve(code ?? 1));
    child.once("error", reject);
    const code = await promise;
    await log.close();
    if (code !== 0) throw new Error(`${tool} ended with ${code}: ${await this.readLog()}`);
  }
}
