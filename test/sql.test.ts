/** The SQL objects: one file each in `src/db/sql/`, and a migrated database has what the files say. */
import assert from "node:assert/strict";
import { glob, readFile } from "node:fs/promises";
import { basename } from "node:path";
import { test } from "node:test";
import { listObjects, SOURCES } from "../tools/sql-objects.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";

/** Of every object of ours: what kind it is, what it is called, and all that PostgreSQL knows about it. */
const CATALOGUE = `
  select 'function' as kind, p.proname as name, pg_get_functiondef(p.oid) as body, p.prosecdef as definer,
    p.proconfig::text as settings, p.proacl::text as privileges
  from pg_proc as p where p.pronamespace = 'inturn'::regnamespace
  union all
  select 'view', c.relname, pg_get_viewdef(c.oid), null, c.reloptions::text, c.relacl::text
  from pg_class as c where c.relnamespace = 'inturn'::regnamespace and c.relkind in ('v', 'm')
  union all
  select 'type', c.relname, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum), null, null, null
  from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0
  where c.relnamespace = 'inturn'::regnamespace and c.relkind = 'c' group by c.relname
  union all
  select 'trigger', t.tgname, pg_get_triggerdef(t.oid), null, null, null
  from pg_trigger as t join pg_class as c on c.oid = t.tgrelid
  where c.relnamespace = 'inturn'::regnamespace and not t.tgisinternal
  order by 1, 2, 3`;

interface Entry {
  kind: string;
  name: string;
  settings: string | null;
}

test(
  "every function, view and type is defined by one file with its name",
  withDatabase(async (db) => {
    const objects = await db.query<Entry>(CATALOGUE);
    const files = await Array.fromAsync(glob("*/*.sql", { cwd: SOURCES }));
    assert.deepEqual(
      objects.map(({ name }) => name).toSorted(),
      files.map((file) => basename(file, ".sql")).toSorted(),
    );
    for (const file of files) {
      const source = await readFile(`${SOURCES}/${file}`, "utf8");
      const defined = [
        ...source.matchAll(/\bcreate (?:or replace )?(?:(?:function|view|type) inturn\.|trigger )(\w+)/g),
      ];
      assert.deepEqual(
        defined.map((match) => match[1]),
        [basename(file, ".sql")],
        file,
      );
    }
  }),
);

test(
  "a migrated database has the objects that the files define: bodies, settings, rights",
  withDatabase(async (db) => {
    const migrated = await db.query(CATALOGUE);
    await dropObjects(db);
    for (const file of await listObjects()) await apply(db, file);
    assert.deepEqual(migrated, await db.query(CATALOGUE));
  }),
);

async function dropObjects(db: TestDatabase): Promise<void> {
  await db.query(`do $$
    declare
      object text;
    begin
      for object in
        select 'view ' || c.oid::regclass from pg_class as c where c.relnamespace = 'inturn'::regnamespace and c.relkind = 'v'
        union all select 'function ' || p.oid::regprocedure from pg_proc as p where p.pronamespace = 'inturn'::regnamespace
      loop
        execute 'drop ' || object;
      end loop;
      drop type inturn.append_answer;
    end $$`);
}

async function apply(db: TestDatabase, file: string): Promise<void> {
  await db.query(`set check_function_bodies = off; ${await readFile(`${SOURCES}/${file}`, "utf8")}`);
}

test(
  "every function looks up names in pg_catalog first",
  withDatabase(async (db) => {
    // The names in a body of SQL are looked up when the function is made, not when it runs.
    const parsed = await db.query<Entry>(
      "select proname as name from pg_proc where pronamespace = 'inturn'::regnamespace and prosqlbody is not null order by 1",
    );
    const names = parsed.map(({ name }) => name);
    assert.deepEqual(names, ["bucket_of", "event_state", "is_of_type", "oldest_program", "shown_state", "waits"]);
    const functions = (await db.query<Entry>(CATALOGUE)).filter(
      ({ kind, name }) => kind === "function" && !names.includes(name),
    );
    assert.ok(functions.length > 15);
    for (const { name, settings } of functions) assert.match(settings ?? "", /search_path=pg_catalog, pg_temp/, name);
  }),
);

/** Of everything of ours: what PUBLIC may do. */
const PUBLIC_RIGHTS = `
  with objects as (
    select 'schema' as kind, n.nspname::text as name, coalesce(n.nspacl, acldefault('n', n.nspowner)) as acl
    from pg_namespace as n where n.nspname = 'inturn'
    union all
    select case c.relkind when 'S' then 'sequence' else 'relation' end, c.relname,
      coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner))
    from pg_class as c where c.relnamespace = 'inturn'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S')
    union all
    select 'routine', format('%s(%s)', p.proname, replace(oidvectortypes(p.proargtypes), ', ', ',')), coalesce(p.proacl, acldefault('f', p.proowner))
    from pg_proc as p where p.pronamespace = 'inturn'::regnamespace
  )
  select o.kind, o.name, r.privilege_type as right
  from objects as o, aclexplode(o.acl) as r where r.grantee = 0 order by 1, 2`;

const OPEN = [
  { kind: "routine", name: "append_event(text,json,text,text)", right: "EXECUTE" },
  {
    kind: "routine",
    name: "append_events(text[],json[],text[],text[],timestamp with time zone[])",
    right: "EXECUTE",
  },
  { kind: "routine", name: "append_json(json)", right: "EXECUTE" },
  // Read before anything else, by every program.
  { kind: "routine", name: "oldest_program()", right: "EXECUTE" },
];

test(
  "PUBLIC may append and nothing else, also when something was added or opened by mistake",
  withDatabase(async (db) => {
    assert.deepEqual(await db.query(PUBLIC_RIGHTS), OPEN);
    await db.query("create function inturn.later() returns integer language sql as 'select 1'");
    await db.query("create table inturn.later_rows (id serial)");
    await db.query(
      "grant select on inturn.later_rows, inturn.accounts to public; grant create on schema inturn to public",
    );
    assert.ok((await db.query(PUBLIC_RIGHTS)).length > OPEN.length);
    await apply(db, "privileges.sql");
    assert.deepEqual(await db.query(PUBLIC_RIGHTS), OPEN);
  }),
);

test("SQL files are ASCII only: they run in a database of any encoding until it is refused", async () => {
  for (const file of await Array.fromAsync(glob("{src/db/sql,drizzle}/**/*.sql"))) {
    assert.doesNotMatch(await readFile(file, "utf8"), /[^\t\n\u0020-\u007e]/, file);
  }
});
