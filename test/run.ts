/**
 * Runs the tests: brings a PostgreSQL up (a server of our own, unless TEST_DATABASE_URL names one), makes the template
 * that each test clones, and hands over to Node's test runner. `npm run test:only -- test/http.test.ts` runs one file.
 */
import { spawn } from "node:child_process";
import { glob } from "node:fs/promises";
import pg from "pg";
import { migrateDatabase, urlOfDatabase } from "../src/db/migrate.ts";
import { useEmbeddedPostgres } from "../src/embedded/embedded-postgres.ts";
import { TEMPLATE } from "./support/database.ts";

const given = process.env["TEST_DATABASE_URL"];
const server = given === undefined ? await useEmbeddedPostgres(".inturn/test") : undefined;
const url = given ?? server?.url ?? "";
try {
  await makeTemplate(url);
  process.exitCode = await runTests(url);
} finally {
  await server?.release();
}

async function makeTemplate(serverUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: serverUrl });
  await client.connect();
  await client.query(`drop database if exists ${TEMPLATE} with (force)`);
  await client.query(`create database ${TEMPLATE}`);
  await client.end();
  const { postgres } = await migrateDatabase(urlOfDatabase(serverUrl, TEMPLATE));
  process.stderr.write(`Testing with PostgreSQL ${postgres}\n`);
}

async function runTests(serverUrl: string): Promise<number> {
  const named = process.argv.slice(2);
  const files = named.length > 0 ? named : (await Array.fromAsync(glob("test/*.test.ts"))).toSorted();
  const child = spawn(process.execPath, ["--test", "--test-concurrency=3", "--test-timeout=120000", ...files], {
    stdio: "inherit",
    env: { ...process.env, TEST_DATABASE_URL: serverUrl },
  });
  const { promise, resolve } = Promise.withResolvers<number>();
  child.on("exit", (code) => resolve(code ?? 1));
  return await promise;
}
