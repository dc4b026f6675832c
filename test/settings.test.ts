import assert from "node:assert/strict";
import { test } from "node:test";
import { describeSettings, readSettings, toEnvironment } from "../src/config/settings.ts";
import { InturnError } from "../src/errors/error.ts";

test("without any variable the defaults hold", () => {
  assert.deepEqual(readSettings({}), {
    databaseUrl: undefined,
    directDatabaseUrl: undefined,
    workerConnectionsMax: 36,
    dataFolder: ".inturn",
    cells: undefined,
    cell: undefined,
    host: "127.0.0.1",
    port: 8000,
    apiProcesses: 1,
    metricsPort: undefined,
    basePath: "",
    apiKeys: undefined,
    handler: undefined,
    pushUrl: undefined,
    pushSecrets: undefined,
    pushFormat: "cloudevents",
    pushNetworks: undefined,
    pushConcurrency: 100,
    handlerMs: 1_000,
    concurrency: 1_000,
    readAheadBytesMax: 67_108_864,
    leaseMs: 10_000,
    attemptsMax: 10,
    failurePolicy: "block",
    parkMs: 3_600_000,
    snoozeMsMax: 86_400_000,
    unsettledMax: 1,
    backoffMs: 1_000,
    backoffMsMax: 600_000,
    handlerTimeoutMs: 300_000,
    shutdownMs: 8_000,
    bodyBytesMax: 8_388_608,
    keepAliveMs: 75_000,
    accountPendingMax: 100_000,
    pendingMax: 10_000_000,
    keepDays: 0,
    logLevel: "info",
  });
});

test("flags win over the environment, and an empty variable counts as none", () => {
  const settings = readSettings({ PORT: "9000", HOST: "" }, { port: 9001 });
  assert.deepEqual([settings.port, settings.host], [9001, "127.0.0.1"]);
});

test("all faults are told together, a misspelled variable among them", () => {
  const environment = { DATABASE_URL: "mysql://x", PORT: "eighty", INTURN_LEASE_MS: "1", INTURN_CONCURENCY: "5" };
  assert.throws(
    () => readSettings(environment),
    (error: unknown) => {
      assert.ok(error instanceof InturnError);
      assert.equal(error.code, "settings_invalid");
      assert.deepEqual(error.faults.map((fault) => fault.where).toSorted(), Object.keys(environment).toSorted());
      return true;
    },
  );
});

test("an address of several hosts is refused, with what to use instead; commas elsewhere are not", () => {
  const several = ["//a:1,b:2/db?target_session_attrs=read-write", "//u:p@a,b/db", "//u@/db?host=a,b", "//u:x@y@a,b"];
  for (const rest of several) {
    const read = () => readSettings({ DATABASE_URL: `postgres:${rest}` });
    assert.throws(read, /DATABASE_URL: names several hosts; name one that leads to the primary: HAProxy/);
  }
  for (const rest of ["//u:p,q@a/db", "//u@a/db,1", "//u:p/,@a/db", "//u@a/db?options=-c%20search_path=a,b"])
    assert.equal(readSettings({ DATABASE_URL: `postgres:${rest}` }).databaseUrl, `postgres:${rest}`);
});

test("a child process reads back exactly the settings of its parent", () => {
  const settings = readSettings({ DATABASE_URL: "postgres://localhost/x", INTURN_CONCURRENCY: "7", PATH: "/bin" });
  const environment = toEnvironment(settings, { PATH: "/bin", PORT: "1" });
  assert.equal(environment["PATH"], "/bin");
  assert.deepEqual(readSettings(environment), settings);
});

test("every setting is described", () => {
  for (const { variable, description } of describeSettings()) assert.ok(description.length > 10, variable);
});
