import assert from "node:assert/strict";
import { access, readFile } from "node:fs/promises";
import { test } from "node:test";
import { parse } from "yaml";
import { createProgram } from "../src/cli/program.ts";
import { DUTIES } from "../src/db/privileges.ts";
import { loadHandler } from "../src/worker/handler-module.ts";

interface Service {
  readonly image: string;
  readonly build?: string;
  readonly command?: string[];
  readonly ports?: string[];
  readonly depends_on?: Record<string, { condition: string }>;
  readonly healthcheck?: unknown;
  readonly environment?: Record<string, string>;
  readonly volumes?: string[];
}

const compose = parse(await readFile("docker-compose.yml", "utf8"), { merge: true }) as {
  services: Record<string, Service>;
};
const dockerfile = await readFile("Dockerfile", "utf8");

test("every command of the compose file exists, with the flags it uses", async () => {
  const commands = new Map((await createProgram()).commands.map((command) => [command.name(), command]));
  for (const { command, image } of Object.values(compose.services)) {
    if (command === undefined || image !== "inturn:local") continue;
    const [name = "", ...args] = command;
    const flags = args.filter((arg) => arg.startsWith("--"));
    const known = commands.get(name)?.options.map((option) => option.long);
    assert.ok(known !== undefined, `there is no command ${name}`);
    for (const flag of flags) assert.ok(known.includes(flag), `${name} has no ${flag}`);
  }
});

test("PostgreSQL is healthy before the migration, the migration done before the roles, these before API and workers", () => {
  const { postgres, migrate, roles, api, worker } = compose.services;
  assert.ok(postgres?.healthcheck !== undefined);
  assert.deepEqual(migrate?.depends_on, { postgres: { condition: "service_healthy" } });
  assert.deepEqual(roles?.depends_on, { migrate: { condition: "service_completed_successfully" } });
  for (const service of [api, worker]) {
    assert.ok(service?.healthcheck !== undefined);
    assert.deepEqual(service.depends_on, {
      postgres: { condition: "service_healthy" },
      roles: { condition: "service_completed_successfully" },
    });
  }
  assert.deepEqual(api?.ports, ["127.0.0.1:8000:8000"]);
});

test("every file that is mounted is there, and the roles of the addresses are made with the database", async () => {
  const logins = await readFile("deploy/logins.sql", "utf8");
  for (const { volumes = [], environment } of Object.values(compose.services)) {
    for (const [, path = ""] of volumes.map((volume) => /^(\.\/[^:]+):/.exec(volume) ?? []))
      if (path !== "") await access(path);
    const { username = "" } = environment?.["DATABASE_URL"] === undefined ? {} : new URL(environment["DATABASE_URL"]);
    if (username !== "" && username !== "inturn")
      assert.match(logins, new RegExp(`^create role ${username} login `, "m"));
  }
  for (const duty of DUTIES) assert.match(logins, new RegExp(`^create role inturn_${duty} nologin;$`, "m"));
});

test("images are pinned, and the image's Node is the one of the lockfile", async () => {
  for (const { image, build } of Object.values(compose.services)) {
    assert.match(image, build === undefined && !image.startsWith("inturn:") ? /:v?\d+\.\d+/ : /^inturn:local$/);
  }
  const lock = JSON.parse(await readFile("package-lock.json", "utf8")) as {
    packages: Record<string, { version: string }>;
  };
  const versions = [...dockerfile.matchAll(/^FROM node:(\S+)-bookworm-slim/gm)].map(([, version]) => version);
  assert.deepEqual(new Set(versions), new Set([lock.packages["node_modules/node"]?.version]));
});

test("what the image copies is let through to it, and its entry point is there", async () => {
  const letThrough = (await readFile(".dockerignore", "utf8")).split("\n").filter((line) => line.startsWith("!"));
  const copies = [...dockerfile.matchAll(/^COPY (.+) \S+$/gm)].map(([, files]) => files ?? "");
  const copied = copies.filter((files) => !files.startsWith("--from")).flatMap((files) => files.split(" "));
  assert.deepEqual(new Set(letThrough.map((line) => line.slice(1))), new Set(copied));
  const [, entry] = /^ENTRYPOINT \["node", "([^"]+)"\]$/m.exec(dockerfile) ?? [];
  // What `npm run build` makes of src/cli/main.ts: the container runs JavaScript.
  assert.equal(entry, "dist/cli/main.js");
  assert.match(dockerfile, /^RUN npm run build$/m);
});

test("workers are given a handler: a folder is mounted, and the variable must be set", async () => {
  const { worker } = compose.services;
  assert.match(worker?.environment?.["INTURN_HANDLER"] ?? "", /^\$\{INTURN_HANDLER:\?/);
  assert.deepEqual(worker?.volumes, ["./handlers:/app/handlers:ro"]);
  // The one that the first line of the file names.
  assert.equal(typeof (await loadHandler("handlers/example.mjs")).handler, "function");
});
