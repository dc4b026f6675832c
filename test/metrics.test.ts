/**
 * What is counted, as Prometheus reads it; and the dashboard and the alerts that stand on it.
 */
import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { parse as parseYaml } from "yaml";
import { insertApiKey } from "../src/db/api-keys.ts";
import { openDatabase } from "../src/db/pool.ts";
import { createKey } from "../src/engine/access.ts";
import { PulseWatch } from "../src/engine/pulse.ts";
import { ApiMetrics } from "../src/metrics/api-metrics.ts";
import { createTestApp } from "./support/app.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { withDatabase } from "./support/database.ts";
import { startProcess } from "./support/process.ts";
import { read, scrape, valuesOf } from "./support/prometheus.ts";
import { until } from "./support/until.ts";

const UNITS = /_(?:total|seconds|events|bytes|accounts|info|max|in_hand|violations)$|^inturn_accounts$/;

const HANDLER = `
  export const eventTypes = { fragile: { failurePolicy: "dead-letter", attemptsMax: 2, backoffMs: 1 } };
  export default async (event) => { if (event.type === "fragile") throw new Error("broken"); };`;

test(
  "an API and a worker count what they did, exactly, with units and without accounts",
  withDatabase(async (db) => {
    const handler = join(tmpdir(), `inturn-metrics-${process.pid}.mjs`);
    writeFileSync(handler, HANDLER);
    const environment = { DATABASE_URL: db.url, PORT: "0", INTURN_METRICS_PORT: "0", INTURN_HANDLER: handler };
    const [server, worker] = [startProcess(["serve"], environment), startProcess(["work"], environment)];
    const [{ url: api = "" }, { url: work = "" }] = await Promise.all([server.ready, worker.ready]);
    const post = async (body: unknown) =>
      (
        await fetch(`${api}/v1/events`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body),
        })
      ).status;
    const events = ["secret-account-1", "secret-account-2"].map((accountId) => ({ accountId, id: "1", data: 1 }));
    assert.deepEqual(
      [await post(events), await post([...events, { accountId: "secret-account-1", type: "fragile", data: 1 }])],
      [202, 202],
    );
    assert.deepEqual([await post({ accountId: 1 }), await post({ accountId: 2 }), await post([])], [422, 422, 422]);
    assert.equal((await fetch(`${api}/v1/accounts/nobody`)).status, 404);
    const families = await until("all is settled", async () => {
      const found = await scrape(work);
      return (
        valuesOf(found, "inturn_events_settled_total")["dead"] === 1 &&
        valuesOf(found, "inturn_accounts_in_hand")[""] === 0 &&
        found
      );
    });
    assert.deepEqual(valuesOf(families, "inturn_events_settled_total"), { processed: 2, dead: 1 });
    assert.deepEqual(valuesOf(families, "inturn_attempts_failed_total"), {
      retry: 1,
      snooze: 0,
      wait: 0,
      block: 0,
      park: 0,
      "dead-letter": 1,
    });
    assert.deepEqual(valuesOf(families, "inturn_handler_seconds"), { "": 4 });
    assert.deepEqual(valuesOf(families, "inturn_wait_seconds"), { "": 3 });
    assert.equal(Number(families.get("inturn_settle_batch_events")?.metrics[0]?.sum), 3);
    assert.deepEqual(valuesOf(families, "inturn_accounts_in_hand_max"), { "": 1_000 });
    for (const name of ["inturn_leases_taken_over_total", "inturn_leases_lost_total"])
      assert.deepEqual(valuesOf(families, name), { "": 0 });

    const ofApi = await until("the pulse has seen it", async () => {
      const found = await scrape(api);
      return valuesOf(found, "inturn_accounts")["idle"] === 2 && found;
    });
    assert.deepEqual(valuesOf(ofApi, "inturn_events_accepted_total"), { false: 3, true: 2 });
    assert.deepEqual(valuesOf(ofApi, "inturn_requests_refused_total"), { event_invalid: 3, account_not_found: 1 });
    assert.equal(Number(ofApi.get("inturn_append_batch_events")?.metrics[0]?.sum), 5);
    assert.deepEqual(valuesOf(ofApi, "inturn_backlog_events"), { "": 0 });
    assert.deepEqual(valuesOf(ofApi, "inturn_order_violations"), { "": 0 });
    assert.deepEqual(valuesOf(ofApi, "inturn_accounts"), {
      idle: 2,
      scheduled: 0,
      running: 0,
      retrying: 0,
      blocked: 0,
      waiting: 0,
      paused: 0,
    });

    for (const family of [...families.values(), ...ofApi.values()]) {
      assert.notEqual(family.help, "", family.name);
      assert.ok(["COUNTER", "GAUGE", "HISTOGRAM", "SUMMARY"].includes(family.type), family.name);
      if (family.name.startsWith("inturn_")) assert.match(family.name, UNITS);
    }
    assert.doesNotMatch(JSON.stringify([[...families], [...ofApi]]), /secret-account/);
    // Only a server in front of cells has the last one.
    checkFiles(new Set([...families.keys(), ...ofApi.keys(), "inturn_cell_up"]));
    assert.deepEqual(await Promise.all([server.stop(), worker.stop()]), [0, 0]);
    rmSync(handler);
  }),
);

/** The names in the expressions of a file exist, and every one of ours is on the dashboard. */
function checkFiles(known: ReadonlySet<string>): void {
  const dashboard = JSON.parse(readFileSync("deploy/grafana/inturn.json", "utf8")) as {
    panels: { id: number; title: string; targets: { expr: string }[] }[];
  };
  const { groups } = parseYaml(readFileSync("deploy/alerts.yml", "utf8")) as {
    groups: {
      rules: { alert: string; expr: string; labels: { severity: string }; annotations: Record<string, string> }[];
    }[];
  };
  const rules = groups.flatMap((group) => group.rules);
  assert.ok(rules.length >= 6);
  for (const { alert, labels, annotations } of rules) {
    assert.match(alert, /^Inturn[A-Za-z]+$/);
    assert.match(labels.severity, /^(?:warning|critical)$/, alert);
    for (const name of ["summary", "description", "runbook"])
      assert.ok((annotations[name] ?? "").length > 20, `${alert}: ${name}`);
  }
  assert.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length);
  const onDashboard = new Set<string>();
  const namesIn = (expression: string) =>
    (expression.match(/\b(?:inturn|process|nodejs)_\w+/g) ?? []).map((name) =>
      name.replace(/_(?:bucket|sum|count)$/, ""),
    );
  for (const { expr } of dashboard.panels.flatMap(({ targets }) => targets)) {
    for (const name of namesIn(expr)) onDashboard.add(name);
  }
  for (const name of [...onDashboard, ...rules.flatMap(({ expr }) => namesIn(expr))]) assert.ok(known.has(name), name);
  for (const name of known) if (name.startsWith("inturn_")) assert.ok(onDashboard.has(name), `${name} is on no panel`);
}

test(
  "metrics need a key as soon as there is one, at the API and at a worker",
  withDatabase(async (db) => {
    const { id, key, hash } = createKey();
    await insertApiKey(db.database, {
      id,
      name: "prometheus",
      hash,
      scopes: ["read"],
      accountPrefix: null,
      eventsPerSecond: null,
    });
    const environment = { DATABASE_URL: db.url, PORT: "0", INTURN_METRICS_PORT: "0", INTURN_HANDLER: "sleep" };
    const parts = [startProcess(["serve"], environment), startProcess(["work"], environment)];
    for (const { ready } of parts) {
      const { url = "" } = await ready;
      assert.equal((await fetch(`${url}/metrics`)).status, 401);
      assert.equal((await fetch(`${url}/livez`)).status, 200);
      assert.ok((await scrape(url, { authorization: `Bearer ${key}` })).size > 10);
    }
    assert.deepEqual(await Promise.all(parts.map((part) => part.stop())), [0, 0]);
  }),
);

test("while the database is away a scrape still tells of the process, and not of what only the database knows", async () => {
  const url = "postgres://x@127.0.0.1:1/x";
  const database = openDatabase({ url, name: "test", connectionsMax: 1, onError: () => undefined });
  const [metrics, watch] = [new ApiMetrics({ hasProcess: true }), new PulseWatch(database)];
  const exposeMetrics = async () => await metrics.expose(await watch.latest().catch(() => undefined));
  const access = () => ({ isEmpty: true, callerOf: () => undefined, sourceOf: () => undefined });
  const app = createTestApp(database, { exposeMetrics, access });
  const families = read(await (await app.request("/metrics")).text());
  assert.ok(families.has("process_cpu_seconds_total") && families.has("inturn_events_accepted_total"));
  assert.ok(!families.has("inturn_backlog_events") && !families.has("inturn_accounts"));
  await database.end();
});

test(
  "what a lost lease and a takeover leave behind is counted",
  withDatabase(async (db) => {
    await appendEvents(db.database, [newEvent({ accountId: "a" })]);
    await db.query("update inturn.accounts set state = 'running', lease_worker = gen_random_uuid(), epoch = 1");
    const worker = startProcess(["work"], {
      DATABASE_URL: db.url,
      INTURN_METRICS_PORT: "0",
      INTURN_HANDLER: "sleep",
      INTURN_HANDLER_MS: "0",
    });
    const { url = "" } = await worker.ready;
    const families = await until("the account is taken over", async () => {
      const found = await scrape(url);
      return valuesOf(found, "inturn_events_settled_total")["processed"] === 1 && found;
    });
    assert.deepEqual(valuesOf(families, "inturn_leases_taken_over_total"), { "": 1 });
    assert.equal(await worker.stop(), 0);
  }),
);
