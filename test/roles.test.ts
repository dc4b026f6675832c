/** Roles that may do what they are for, and no more: what each can do and cannot is tried. */
import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { makeCell } from "../src/db/cells.ts";
import { spreadBuckets } from "../src/domain/cell.ts";
import { createInturn } from "../src/index.ts";
import { examine } from "../src/service/doctor.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { runProcess, startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

const FORBIDDEN = "42501";

/** Gives the database its roles and a login for each, takes them away afterwards. They are the server's: their names are the test's own. */
async function withRoles(db: TestDatabase, work: (urlOf: (duty: string) => string) => Promise<void>): Promise<void> {
  const prefix = `${new URL(db.url).pathname.slice(1)}_`;
  const logins = {
    api: ["ingest", "read", "operate"],
    ingest: ["ingest"],
    work: ["work"],
    read: ["read"],
    operate: ["operate"],
  };
  try {
    const { code, stderr } = await runProcess(["roles", "--apply", "--prefix", prefix], { DATABASE_URL: db.url });
    assert.equal(code, 0, stderr);
    for (const [login, duties] of Object.entries(logins)) {
      const groups = duties.map((duty) => `${prefix}${duty}`).join(", ");
      await db.query(`create role ${prefix}as_${login} login password 'secret' in role ${groups}`);
    }
    await work((login) => {
      const url = new URL(db.url);
      url.username = `${prefix}as_${login}`;
      url.password = "secret";
      return url.href;
    });
  } finally {
    const roles = await db.query<{ name: string }>(
      "select rolname as name from pg_roles where starts_with(rolname, $1)",
      [prefix],
    );
    for (const { name } of roles) await db.query(`drop owned by ${name}; drop role ${name}`);
  }
}

/** What a login gets for each statement: `ok`, or the error's code. Nothing is kept. */
async function tryAll(url: string, statements: readonly string[]): Promise<Record<string, string>> {
  const client = new pg.Client(url);
  await client.connect();
  const outcomes: Record<string, string> = {};
  for (const statement of statements) {
    await client.query("begin");
    outcomes[statement] = await client.query(statement).then(
      () => "ok",
      (error: pg.DatabaseError) => error.code ?? "",
    );
    await client.query("rollback");
  }
  await client.end();
  return outcomes;
}

/** Who may do what; everybody else is refused. */
const TRIALS: Readonly<Record<string, readonly string[]>> = {
  "select * from inturn.append_event('a', '{}')": ["ingest", "work"],
  "select * from inturn.append_events(array['a'], array['{}'::json])": ["ingest", "work"],
  "select id from inturn.accounts": ["ingest", "work", "read", "operate"],
  "select * from inturn.event_results": ["read", "operate"],
  "select * from inturn.order_violations": ["read", "operate"],
  "select * from inturn.account_results": ["read", "operate"],
  "select hash from inturn.api_keys": ["ingest", "work"],
  "select secrets from inturn.sources": ["ingest"],
  "insert into inturn.api_keys (id, name, hash, scopes) values ('x', 'x', 'x', '{}')": [],
  "insert into inturn.sources (name, scheme, secrets) values ('x', 'standard', '{}')": [],
  "update inturn.accounts set last_seq = 0": ["work"],
  "delete from inturn.accounts": [],
  "delete from inturn.events": ["work"],
  "insert into inturn.events (account_id, seq, data) values ('a', 9, '{}')": [],
  "truncate inturn.events": [],
  "select * from inturn.pause('a')": ["operate"],
  "select * from inturn.skip('a')": ["operate"],
  "select * from inturn.operate('retry', '{}', dry_run => true)": ["operate"],
  "select * from inturn.begin_pause('all', '')": ["operate"],
  "select inturn.erase('a')": ["operate"],
  "select * from inturn.take_over(1, 1, 1, false, false)": ["work"],
  "select * from graphile_worker.jobs": ["work", "read", "operate"],
  "update graphile_worker._private_jobs set attempts = 1": ["work"],
  "create table inturn.mine ()": [],
  "drop table inturn.events": [],
  "alter table inturn.events add column mine text": [],
  "insert into inturn.migrations (hash, created_at) values ('x', 1)": [],
};

test(
  "each role can do what it is for, and nothing else",
  withDatabase(async (db) => {
    await db.query("select from inturn.append_event('a', '{}')");
    await withRoles(db, async (urlOf) => {
      for (const duty of ["ingest", "work", "read", "operate"]) {
        const outcomes = await tryAll(urlOf(duty), Object.keys(TRIALS));
        const may = Object.keys(outcomes).filter((statement) => outcomes[statement] !== FORBIDDEN);
        const expected = Object.keys(TRIALS).filter((statement) => TRIALS[statement]?.includes(duty));
        assert.deepEqual(may, expected, duty);
        // What is allowed is also done.
        assert.deepEqual(
          may.filter((statement) => outcomes[statement] !== "ok"),
          [],
          duty,
        );
      }
    });
  }),
);

for (const kind of ["", " in a cell"]) {
  test(
    `an API and a worker live with their roles${kind}: events, retries, transactions, pruning, verbs and pages`,
    withDatabase(async (db) => {
      if (kind !== "") await makeCell(db.database, { here: "a", map: spreadBuckets(["a"]) });
      await withRoles(db, async (urlOf) => {
        await db.query(
          `create table public.effects (n integer); grant insert on public.effects to "${new URL(urlOf("work")).username}"`,
        );
        const common = { logLevel: "silent", backoffMs: 1 } as const;
        const api = createInturn({ ...common, databaseUrl: urlOf("api"), requireKeys: false });
        const worker = createInturn({
          ...common,
          databaseUrl: urlOf("work"),
          keepDays: 1,
          eventTypes: { dies: { attemptsMax: 1 } },
          handler: async ({ type, seq }, { attempt, transaction }) => {
            if (type === "dies" || (seq === 2 && attempt === 1)) throw new Error("no");
            await transaction(async (client) => await client.query("insert into public.effects values ($1)", [seq]));
          },
        });
        try {
          await worker.startWorker();
          await api.append(Array.from({ length: 20 }, (_, i) => ({ accountId: `a${i % 5}`, data: i })));
          await api.append([
            { accountId: "dead", type: "dies", data: 1 },
            { accountId: "dead", data: 1 },
          ]);
          await until("it is blocked", async () => (await api.status()).accounts.blocked === 1);
          await api.operate({ verb: "skip", accountId: "dead" });
          await until("all are settled", async () => (await api.status()).settled === 22);
          assert.equal((await db.query("select from public.effects")).length, 21);
          for (const path of [
            "/",
            "/accounts",
            "/accounts/dead",
            "/events",
            "/metrics",
            "/readyz",
            "/v1/accounts/dead",
            "/v1/pauses",
            "/v1/targets",
          ]) {
            assert.equal((await api.app.fetch(new Request(`http://localhost${path}`))).status, 200, path);
          }
          await api.operate({ verb: "pause", accountId: "a1" });
        } finally {
          await Promise.all([api.stop(), worker.stop()]);
        }
        const listener = startProcess(["serve", "--port", "0"], { DATABASE_URL: urlOf("ingest") });
        const { url = "" } = await listener.ready;
        const body = JSON.stringify({ accountId: "b", data: 1 });
        const json = { "content-type": "application/json" };
        assert.equal((await fetch(`${url}/v1/events`, { method: "POST", body, headers: json })).status, 202);
        assert.equal((await fetch(`${url}/readyz`)).status, 200);
        const refused = await fetch(`${url}/v1/accounts/b`);
        assert.deepEqual(
          [refused.status, ((await refused.json()) as { code: string }).code],
          [500, "role_not_permitted"],
        );
        assert.equal(await listener.stop(), 0);
        const wrong = await runProcess(["work"], { DATABASE_URL: urlOf("read"), INTURN_HANDLER: "sleep" });
        assert.equal(wrong.code, 1);
        assert.match(
          wrong.stderr,
          /The role of this process may not do this in the database: permission denied .*\[role_not_permitted\]/,
        );
        for (const [login, found] of [
          ["work", /^\w+_as_work may work, and nothing else$/],
          ["api", /^\w+_as_api may ingest, read, operate, and nothing else$/],
        ] as const) {
          const privileges = (await examine(urlOf(login))).find(({ check }) => check === "privileges");
          assert.equal(privileges?.level, "ok");
          assert.match(privileges.found, found);
        }
      });
    }),
  );
}

test(
  "an owner of one schema, who makes no roles and owns no database, is told beforehand what is missing; nothing is changed",
  withDatabase(
    async (db) => {
      const prefix = `${new URL(db.url).pathname.slice(1)}_`;
      const asTenant = new URL(db.url);
      [asTenant.username, asTenant.password] = [`${prefix}tenant`, "secret"];
      const run = async (url: string, ...flags: string[]) =>
        await runProcess(["roles", "--prefix", prefix, ...flags], { DATABASE_URL: url });
      const roles = async () =>
        (
          await db.query<{ name: string }>(
            "select rolname as name from pg_roles where starts_with(rolname, $1) order by 1",
            [prefix],
          )
        ).map(({ name }) => name.slice(prefix.length));
      try {
        await db.query(`create role ${prefix}tenant login password 'secret'`);
        const early = await run(asTenant.href, "--apply");
        assert.equal(early.code, 1);
        assert.match(
          early.stderr,
          /Nothing was changed\. \w+_tenant may not create roles\. Let an administrator run: create role "\w+_owner" nologin; .* does not own the database .* \[roles_not_allowed\]/,
        );

        const made = await run(db.url, "--apply");
        assert.equal(made.code, 0, made.stderr);
        assert.deepEqual(await roles(), ["ingest", "operate", "owner", "read", "tenant", "work"]);
        await db.query(`grant ${prefix}owner to ${prefix}tenant`);
        asTenant.searchParams.set("options", `-c role=${prefix}owner`);
        assert.match(made.stderr, /with \?options=-c%20role%3D\w+_owner behind its address/);
        const migrated = await runProcess(["migrate"], { DATABASE_URL: asTenant.href });
        assert.equal(migrated.code, 0, migrated.stderr);
        const granted = await run(asTenant.href, "--apply");
        assert.equal(granted.code, 0, granted.stderr);
        assert.match(granted.stderr, /^Done\. \w+_owner owns the tables\./m);

        // Somebody who owns nothing here.
        await db.query(
          `create role ${prefix}stranger login password 'secret'; drop owned by ${prefix}work; drop role ${prefix}work`,
        );
        asTenant.searchParams.delete("options");
        asTenant.username = `${prefix}stranger`;
        const printed = await run(asTenant.href);
        assert.equal(printed.code, 0);
        assert.match(printed.stdout, /^begin;\ncreate role "\w+_work" nologin;\n/);
        assert.match(printed.stderr, /--apply would change nothing: \w+_stranger may not create roles/);
        assert.match(
          printed.stderr,
          /--apply would change nothing: \w+_stranger does not own graphile_worker and inturn|does not own inturn and graphile_worker/,
        );
      } finally {
        for (const name of await roles())
          await db.query(`drop owned by ${prefix}${name} cascade; drop role ${prefix}${name}`);
      }
    },
    { empty: true },
  ),
);
