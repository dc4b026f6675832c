/**
 * A PostgreSQL server of our own, for users without one: real server binaries, a data folder in the project, loopback only.
 *
 * Any number of commands share it: the first one starts it, each holds a shared advisory lock while it runs, and the last
 * one to let go stops it. A server whose starter was killed is found and used by the next command.
 */
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { appendFile, chown, mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { InturnError } from "../errors/error.ts";
import {
  findServerUser,
  isPassable,
  preparePostgresBinaries,
  ROOT_FOLDER,
  type ServerUser,
} from "./postgres-binaries.ts";
import { ServerShare } from "./server-share.ts";
import { withLock } from "./start-lock.ts";

/** A running server that this process uses. */
export interface EmbeddedPostgres {
  /** A connection string for the database `inturn`. */
  readonly url: string;
  /** Where the server keeps its data, its log and its password. */
  readonly folder: string;
  /** Whether somebody else had started it. */
  readonly reused: boolean;
  /** Lets go of the server, and stops it if no other command uses it. */
  release(): Promise<void>;
}

const USER = "inturn";

/** A stop of the server is waited for this long, before it is made to stop. */
const STOP_SECONDS_MAX = 30;

/** Room for a few workers and servers; sizes for a small machine. Durability is left as PostgreSQL ships it. */
const CONFIGURATION = `
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 256MB
max_wal_size = 4GB
jit = off
`;

/** Starts the server of this folder, or joins it when it runs already. */
export async function useEmbeddedPostgres(dataFolder: string): Promise<EmbeddedPostgres> {
  const user = await findServerUser();
  const bin = await preparePostgresBinaries(user);
  const folder = await prepareFolder(resolve(dataFolder), user);
  const server = { bin, user, data: join(folder, "data"), log: join(folder, "server.log") };
  const lock = join(folder, "start-lock");
  const { share, port, reused, password } = await withLock(lock, async () => {
    const secret = await initialise(server, folder);
    const running = await readRunningPort(server);
    const taken = running ?? (await start(server));
    const joined = await joinServer(server, urlOf(taken, secret, "postgres")).catch(async (error: unknown) => {
      // A server that no command holds would run for ever.
      if (running === undefined) await stop(server).catch(() => undefined);
      throw error;
    });
    return { share: joined, port: taken, reused: running !== undefined, password: secret };
  });
  return {
    url: urlOf(port, password, USER),
    folder,
    reused,
    release: () => withLock(lock, () => leave(server, share)),
  };
}

interface Server {
  readonly bin: string;
  readonly user: ServerUser;
  readonly data: string;
  readonly log: string;
}

/** In the project, or under {@link ROOT_FOLDER} when we are root and the project lies in a folder closed to the server's user. */
async function prepareFolder(dataFolder: string, user: ServerUser): Promise<string> {
  let folder = join(dataFolder, "postgres");
  await mkdir(folder, { recursive: true });
  if (user.uid !== undefined && !(await isPassable(folder, user))) {
    folder = join(ROOT_FOLDER, createHash("sha256").update(dataFolder).digest("hex").slice(0, 12));
    await mkdir(folder, { recursive: true, mode: 0o755 });
  }
  await handOver(folder, user);
  return folder;
}

/** Makes the server's user the owner of what we, as root, have made. */
async function handOver(path: string, { uid, gid }: ServerUser): Promise<void> {
  if (uid !== undefined && gid !== undefined) await chown(path, uid, gid);
}

/** Makes the database cluster unless it is there. Returns the password. */
async function initialise(server: Server, folder: string): Promise<string> {
  const file = join(folder, "password");
  const known = await readFile(join(server.data, "PG_VERSION"), "utf8").catch(() => undefined);
  if (known !== undefined) return (await readFile(file, "utf8")).trim();
  const password = randomBytes(24).toString("base64url");
  await writeFile(file, password, { mode: 0o600 });
  await handOver(file, server.user);
  // Made under another name and renamed when it is whole: a start that is killed half-way leaves nothing half-made.
  const fresh = `${server.data}.new`;
  await rm(fresh, { recursive: true, force: true });
  const initdb = [
    "-D",
    fresh,
    "-U",
    USER,
    `--pwfile=${file}`,
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--no-locale",
  ];
  await runServerTool(server, "initdb", initdb);
  await appendFile(join(fresh, "postgresql.conf"), CONFIGURATION);
  await rename(fresh, server.data);
  return password;
}

/** The port of the server that runs on this data folder, if one does. */
async function readRunningPort(server: Server): Promise<number | undefined> {
  if ((await exitCodeOf(server, "pg_ctl", ["status", "-D", server.data])) !== 0) return undefined;
  const lines = (await readFile(join(server.data, "postmaster.pid"), "utf8")).split("\n");
  return Number(lines[3]);
}

async function start(server: Server): Promise<number> {
  const port = await findFreePort();
  await runServerTool(server, "pg_ctl", ["start", "-w", "-D", server.data, "-l", server.log, "-o", `-p ${port}`]);
  return port;
}

/** Counts this process among the users, and makes the database if it is missing. */
async function joinServer(server: Server, url: string): Promise<ServerShare> {
  const share = await ServerShare.take(url, async () => (await readRunningPort(server)) !== undefined);
  await share.ensureDatabase(USER);
  return share;
}

async function leave(server: Server, share: ServerShare): Promise<void> {
  if ((await share.release()) && (await readRunningPort(server)) !== undefined) await stop(server);
}

/** A server whose disk is full may never end by itself: then it is ended as by a crash, which loses nothing that was committed. */
async function stop(server: Server): Promise<void> {
  const options = ["stop", "-w", "-t", String(STOP_SECONDS_MAX), "-D", server.data];
  if ((await exitCodeOf(server, "pg_ctl", [...options, "-m", "fast"])) === 0) return;
  if ((await readRunningPort(server)) === undefined) return;
  await runServerTool(server, "pg_ctl", [...options, "-m", "immediate"]);
}

function urlOf(port: number, password: string, database: string): string {
  return `postgres://${USER}:${password}@127.0.0.1:${port}/${database}`;
}

async function runServerTool(server: Server, tool: string, args: string[]): Promise<void> {
  const code = await exitCodeOf(server, tool, args);
  if (code === 0) return;
  throw new InturnError(
    "embedded_postgres_failed",
    `PostgreSQL's ${tool} ended with ${code} (see ${server.log}). Set DATABASE_URL to use a server of yours.`,
  );
}

/** The tools, and the server that they start, write to its log: a pipe to us would be inherited and held open. */
async function exitCodeOf(server: Server, tool: string, args: string[]): Promise<number> {
  const log = await open(server.log, "a");
  try {
    await handOver(server.log, server.user);
    const { promise, resolve: done, reject } = Promise.withResolvers<number>();
    const child = spawn(join(server.bin, tool), args, {
      ...server.user,
      cwd: "/", // The tools refuse a working directory that their user cannot enter.
      stdio: ["ignore", log.fd, log.fd],
      env: { LC_ALL: "C" },
    });
    child.on("error", reject);
    child.on("exit", (code) => done(code ?? 1));
    return await promise;
  } finally {
    await log.close();
  }
}

/** A port of the loopback address that nobody listens on now. */
export async function findFreePort(): Promise<number> {
  const { promise, resolve: done, reject } = Promise.withResolvers<number>();
  const probe = createServer().on("error", reject);
  probe.listen(0, "127.0.0.1", () => {
    const address = probe.address();
    probe.close(() => done(typeof address === "object" && address !== null ? address.port : 0));
  });
  return await promise;
}
