import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { withDatabase } from "./support/database.ts";
import { runProcess, startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

const REPORT_KEYS = [
  "events",
  "accounts",
  "workers",
  "seed",
  "idealSeconds",
  "makespanSeconds",
  "efficiency",
  "ingestEventsPerSecond",
  "processed",
  "lost",
  "duplicates",
  "orderViolations",
  "overlaps",
  "postgres",
];

test(
  "the demo prints the object of the contract, finds nothing wrong, and can be repeated",
  withDatabase(
    async (db) => {
      const args = ["demo", "--events", "300", "--accounts", "30", "--handler-ms", "10", "--workers", "2", "--json"];
      for (const seed of ["1", "2"]) {
        const { code, stdout, stderr } = await runProcess([...args, "--seed", seed], { DATABASE_URL: db.url });
        assert.equal(code, 0, stderr);
        const report = JSON.parse(stdout) as Record<string, number>;
        assert.deepEqual(Object.keys(report), REPORT_KEYS);
        const { events, accounts, workers, processed, lost, duplicates, orderViolations, overlaps } = report;
        assert.deepEqual([events, accounts, workers, processed, report["seed"]], [300, 30, 2, 300, Number(seed)]);
        assert.deepEqual([lost, duplicates, orderViolations, overlaps], [0, 0, 0, 0]);
        assert.match(stderr, /sending 300 events over HTTP/);
      }
      const { code, stdout } = await runProcess(["verify"], { DATABASE_URL: db.url });
      assert.equal(code, 0);
      assert.match(stdout, /^Every account is in order\./);
    },
    { empty: true },
  ),
);

test(
  "the demo leaves a database alone that holds somebody's events",
  withDatabase(async (db) => {
    await db.query("select * from inturn.append_event('mine', '1')");
    const { code, stderr } = await runProcess(["demo", "--events", "10"], { DATABASE_URL: db.url });
    assert.equal(code, 1);
    assert.match(stderr, /\[database_not_empty\]/);
    assert.deepEqual(await db.query("select account_id from inturn.account_results"), [{ account_id: "mine" }]);
  }),
);

test(
  "a demo that is interrupted stops all its parts and says so without a stack",
  withDatabase(
    async (db) => {
      const demo = startProcess(["demo", "--events", "500"], { DATABASE_URL: db.url });
      await until("it is under way", async () => {
        const there = await db.query("select to_regclass('inturn.workers') is not null as yes");
        return (
          there[0]?.["yes"] === true &&
          (await db.query("select from inturn.accounts where state = 'running'")).length > 0
        );
      });
      demo.child.kill("SIGINT");
      assert.equal(await demo.ended, 1);
      assert.match(demo.output.stderr, /inturn: stopped before it was done\n$/);
      assert.deepEqual(await db.query("select * from inturn.workers"), []);
    },
    { empty: true },
  ),
);

test(
  "verify exits 1 and names the places when the promise was broken",
  withDatabase(async (db) => {
    const load = (n: number) => JSON.stringify({ run: "1", n });
    for (const n of [1, 2, 4, 3, 3])
      await db.query("select from inturn.append_event('a', $1, 'inturn.load')", [load(n)]);
    await db.query("delete from inturn.events where seq = 2");
    const { code, stdout } = await runProcess(["verify", "--json"], { DATABASE_URL: db.url });
    assert.equal(code, 1);
    const found = JSON.parse(stdout) as Record<string, unknown>;
    // Number 2 is missing twice: as a gap of two kinds in the seqs, and among the sender's numbers.
    assert.deepEqual([found["lost"], found["duplicates"], found["orderViolations"], found["pending"]], [3, 1, 1, 4]);
    const human = await runProcess(["verify"], { DATABASE_URL: db.url });
    assert.match(human.stdout, /The promise was broken:[\s\S]*gap: account a, seq 3: the event before it is seq 1/);
  }),
);

test(
  "start runs everything, load sends to it at a given rate, and a second load of the same seed stores nothing",
  withDatabase(
    async (db) => {
      const environment = { DATABASE_URL: db.url, INTURN_HANDLER: "sleep", INTURN_HANDLER_MS: "1", PORT: "0" };
      const started = startProcess(["start", "--workers", "2"], environment);
      const url = await until("it listens", () => /at (http:\S+)\/v1\/events/.exec(started.output.stderr)?.[1]);
      const args = ["load", "--url", url, "--events", "200", "--accounts", "20", "--batch", "1", "--json"];
      const first = await runProcess([...args, "--rate", "1000"]);
      assert.equal(first.code, 0, first.stderr);
      const report = JSON.parse(first.stdout) as Record<string, number>;
      assert.deepEqual([report["events"], report["requests"], report["duplicates"]], [200, 200, 0]);
      assert.ok((report["eventsPerSecond"] ?? 0) <= 1_010, "the rate is kept");
      const second = JSON.parse((await runProcess(args)).stdout) as Record<string, number>;
      assert.equal(second["duplicates"], 200);
      await until(
        "all is processed",
        async () => (await db.query("select from inturn.event_results where state = 'processed'")).length === 200,
      );
      assert.equal(await started.stop(), 0);
      assert.deepEqual(await db.query("select * from inturn.workers"), []);
    },
    { empty: true },
  ),
);

test("bad usage exits 2 and says what would be right; help exits 0", async () => {
  const cases: [args: string[], environment: Record<string, string>, said: RegExp][] = [
    [["demo", "--events", "many"], {}, /whole number from 1 to/],
    [["demo", "--event", "5"], {}, /Did you mean --events\?/],
    [["dmeo"], {}, /Did you mean demo\?/],
    [["work"], { INTURN_LEASE_MS: "soon" }, /INTURN_LEASE_MS: .*\[settings_invalid\]/s],
    [["work"], { INTURN_LEASES: "1" }, /INTURN_LEASES: there is no such setting; did you mean INTURN_LEASE_MS\?/],
    [["work"], { INTURN_PARK_MS: "never" }, /INTURN_PARK_MS: must be a whole number from 1 to 2592000000 \[/],
  ];
  for (const [args, environment, said] of cases) {
    const { code, stderr } = await runProcess(args, environment);
    assert.equal(code, 2, args.join(" "));
    assert.match(stderr, said);
  }
  for (const command of ["demo", "start", "serve", "work", "migrate", "load", "verify"]) {
    const { code, stdout } = await runProcess([command, "--help"]);
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`^Usage: inturn ${command}`));
  }
});

test(
  "a worker without a handler refuses to start, and leaves every event as it is",
  withDatabase(async (db) => {
    await db.query("select * from inturn.append_event('a', '1')");
    for (const command of ["work", "start"]) {
      const { code, stderr } = await runProcess([command], { DATABASE_URL: db.url, PORT: "0" });
      assert.equal(code, 1);
      assert.match(stderr, /No handler is named\..*`sleep`.*\[handler_missing\]/);
    }
    assert.deepEqual(await db.query("select state from inturn.event_results"), [{ state: "pending" }]);
  }),
);

test(
  "the line that says a worker has started names its handler",
  withDatabase(async (db) => {
    const worker = startProcess(["work", "--handler", "sleep"], { DATABASE_URL: db.url, LOG_LEVEL: "info" });
    await until("it has started", () => worker.output.stderr.includes('"worker started"'));
    assert.match(worker.output.stderr, /"handler":"sleep".*"worker started"/);
    assert.equal(await worker.stop(), 0);
  }),
);

test(
  "a handler that is not there, or is no function, is an error of its own",
  withDatabase(async (db) => {
    const missing = await runProcess(["work", "--handler", "nowhere.ts"], { DATABASE_URL: db.url });
    assert.deepEqual([missing.code, /\[handler_not_found\]/.test(missing.stderr)], [1, true]);
    const wrong = await runProcess(["work", "--handler", "package.json"], { DATABASE_URL: db.url });
    assert.deepEqual([wrong.code, /\[handler_invalid\]/.test(wrong.stderr)], [1, true]);
  }),
);

test("load says at once that no API is there", async () => {
  const { code, stderr } = await runProcess(["load", "--url", "http://127.0.0.1:9", "--events", "10"]);
  assert.equal(code, 1);
  assert.match(stderr, /No API answers at http:\/\/127\.0\.0\.1:9 .*npm run start.*\[load_refused\]/);
});

test(
  "a notice that anybody may send does not end a worker, and its exit code stays its own",
  withDatabase(async (db) => {
    const worker = startProcess(["work", "--handler", "sleep", "--handler-ms", "0"], { DATABASE_URL: db.url });
    await worker.ready;
    const listens = async () =>
      (await db.query("select from pg_stat_activity where query = 'unlisten \"worker:migrate\"'")).length > 0;
    await until("it listens", listens);
    await db.query(`notify "worker:migrate", '{"breaking":true,"migrationNumber":99}'`);
    await db.query("select * from inturn.append_event('a', '1')");
    await until(
      "it works on",
      async () => (await db.query("select from inturn.event_results where state = 'processed'")).length > 0,
    );
    assert.equal(await worker.stop(), 0);
    assert.doesNotMatch(worker.output.stderr, /gave up/);
  }),
);

test(
  "a worker whose graphile-worker is older than the database says so and ends",
  withDatabase(async (db) => {
    await db.query("insert into graphile_worker.migrations (id, breaking) values (999999, true)");
    const { code, stderr } = await runProcess(["work", "--handler", "sleep"], { DATABASE_URL: db.url });
    assert.equal(code, 1);
    assert.match(stderr, /cannot work with the database: .*revision 999999.*\[database_too_new\]/);
  }),
);

test("the plain graphile-worker without DATABASE_URL says that it is needed", async () => {
  const script = new URL("../node_modules/graphile-worker/dist/cli.js", import.meta.url).pathname;
  const { code, stderr } = await runProcess([], { DATABASE_URL: "" }, { script });
  assert.equal(code, 2);
  assert.match(stderr, /^inturn: DATABASE_URL is needed/m);
});

test("a data folder that cannot be used is named with the settings that help", async () => {
  const { code, stderr } = await runProcess(["status"], { DATABASE_URL: "", INTURN_DATA: "/dev/null/x" });
  assert.equal(code, 1);
  assert.match(stderr, /The folder \/dev\/null\/x cannot be used: .*INTURN_DATA.*\[embedded_postgres_failed\]/);
});

test(
  "a signal to npm reaches everything that it started",
  withDatabase(async (db) => {
    const npm = spawn("npm", ["start", "--", "--port", "0", "--workers", "1", "--handler", "sleep"], {
      env: { ...process.env, NODE_OPTIONS: "", LOG_LEVEL: "warn", DATABASE_URL: db.url },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const stream of [npm.stdout, npm.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => (output += text));
    const url = await until("it listens", () => /at (http:\S+)\/v1\/events/.exec(output)?.[1]);
    // What is left of a process that goes on holds the pipe.
    const closed = once(npm, "close");
    npm.kill("SIGTERM");
    await until(
      "the API is gone",
      async () =>
        await fetch(`${url}/livez`).then(
          () => false,
          () => true,
        ),
    );
    await until("the worker has signed off", async () => (await db.query("select from inturn.workers")).length === 0);
    await closed;
  }),
);

/** Every setting that sessions of ours could trip over, as a database may have it. */
const HOSTILE = [
  "datestyle = 'German'",
  "intervalstyle = 'sql_standard'",
  "bytea_output = 'escape'",
  "extra_float_digits = -10",
  "standard_conforming_strings = off",
  "array_nulls = off",
  "transform_null_equals = on",
  "default_transaction_isolation = 'serializable'",
  "default_transaction_deferrable = on",
  "timezone = 'Asia/Kathmandu'",
  "search_path = 'nowhere'",
  "lock_timeout = 1",
  "enable_nestloop = off",
];

test(
  "the demo runs as on any other database where every setting is hostile, in the database and in the address",
  withDatabase(
    async (db) => {
      for (const setting of HOSTILE) {
        await db.query(
          `do $$ begin execute format('alter database %I set ${setting.replaceAll("'", "''")}', current_database()); end $$`,
        );
      }
      const url = `${db.url}?options=${encodeURIComponent("-c datestyle=German -c enable_indexscan=off")}`;
      const args = ["demo", "--events", "300", "--accounts", "30", "--handler-ms", "10", "--json"];
      const { code, stdout, stderr } = await runProcess(args, { DATABASE_URL: url });
      assert.equal(code, 0, stderr);
      const { processed, lost, duplicates, overlaps } = JSON.parse(stdout) as Record<string, number>;
      assert.deepEqual([processed, lost, duplicates, overlaps], [300, 0, 0, 0]);
      assert.doesNotMatch(stderr, /broke off|unavailable/);
    },
    { empty: true },
  ),
);

test("the address of a socket is read, and named when nobody answers there", async () => {
  const { code, stderr } = await runProcess(["migrate"], { DATABASE_URL: "postgres://u@/x?host=/nonexistent" });
  assert.equal(code, 1);
  assert.match(stderr, /No PostgreSQL answers at \/nonexistent:5432\/x: .*\[database_unavailable\]/);
});

test(
  "url prints where the database is, psql looks into it, with PostgreSQL's own tool or without",
  withDatabase(async (db) => {
    await db.query("select * from inturn.append_event('a', '1')");
    const environment = { DATABASE_URL: db.url };
    assert.equal((await runProcess(["url"], environment)).stdout, `${db.url}\n`);
    assert.match((await runProcess(["url", "other"], environment)).stdout, /\/other\n$/);
    for (const path of [process.env["PATH"] ?? "", "/nowhere"]) {
      const { code, stdout } = await runProcess(["psql", "-c", "select account_id, seq from inturn.event_results"], {
        ...environment,
        PATH: path,
      });
      assert.equal(code, 0);
      assert.match(stdout, /account_id\s+\|?\s*seq[\s\S]*\ba\s+\|?\s*1\b/);
    }
  }),
);

test(
  "a second demo in the database of DATABASE_URL is refused while the first one runs",
  withDatabase(
    async (db) => {
      const args = ["demo", "--events", "200", "--accounts", "2", "--handler-ms", "100", "--workers", "1", "--json"];
      const first = startProcess(args, { DATABASE_URL: db.url });
      await until("it sends", () => first.output.stderr.includes("sending 200 events"));
      const second = await runProcess(args, { DATABASE_URL: db.url });
      assert.equal(second.code, 1);
      assert.match(second.stderr, /Another demo runs in the database at .*\[demo_running\]/);
      assert.equal(await first.ended, 0);
      assert.equal((JSON.parse(first.output.stdout) as { processed: number }).processed, 200);
    },
    { empty: true },
  ),
);

test("on the embedded server demos have databases of their own, also two at once", async () => {
  const folder = await mkdtemp(join(tmpdir(), "inturn-"));
  try {
    const args = ["demo", "--events", "100", "--accounts", "10", "--handler-ms", "20", "--workers", "1", "--json"];
    const environment = { DATABASE_URL: "", INTURN_DATA: folder };
    const both = await Promise.all([runProcess(args, environment), runProcess(args, environment)]);
    const said = new Set(both.map(({ stderr }) => /of its own, (\w+);/.exec(stderr)?.[1]));
    assert.deepEqual(said, new Set(["inturn_demo", "inturn_demo_2"]));
    for (const { code, stdout } of both) {
      assert.equal(code, 0);
      assert.equal((JSON.parse(stdout) as { processed: number }).processed, 100);
    }
    const { stdout } = await runProcess(["status", "--json"], environment);
    assert.equal(
      (JSON.parse(stdout) as { received: number }).received,
      0,
      "the user's database has none of the demo's events",
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
