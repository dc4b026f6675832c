/** Which kinds of work a role is allowed to do. */
import type pg from "pg";
import { type Check, ok, readRow } from "./examine-check.ts";
import { DUTIES, type Duty, NEEDS, POLICED } from "./privileges.ts";

/** So many lacking privileges are named. */
const NAMED_MAX = 5;

/** Of each kind of work what this session lacks for it. By the catalogs: to ask by name takes usage of the schema. */
const FIND_LACKING = `
  with need as (
    select n.*, split_part(n.name, '.', 1) as schema, split_part(n.name, '.', 2) as object
    from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as n (duty, kind, name, may)
  ), relation as (
    select c.oid, s.nspname as schema, c.relname as object from pg_class as c join pg_namespace as s on s.oid = c.relnamespace
    where s.nspname in ('inturn', 'graphile_worker')
  ), routine as (
    select f.oid, s.nspname as schema, f.proname as object from pg_proc as f join pg_namespace as s on s.oid = f.pronamespace
    where s.nspname in ('inturn', 'graphile_worker')
  )
  select n.duty, format('%s on %s', n.may, n.name) as lacks from need as n
  where not coalesce(case n.kind
    when 'schema' then (select has_schema_privilege(s.oid, n.may) from pg_namespace as s where s.nspname = n.name)
    when 'function' then (select has_function_privilege(f.oid, n.may) from routine as f where f.schema = n.schema and f.object = n.object)
    when 'sequence' then (select has_sequence_privilege(c.oid, n.may) from relation as c where c.schema = n.schema and c.object = n.object)
    else (select has_table_privilege(c.oid, n.may) from relation as c where c.schema = n.schema and c.object = n.object)
  end, false)
  union all
  select 'work', format('a policy on %s', p.name) from unnest($5::text[]) as p (name)
  join relation as c on c.schema = split_part(p.name, '.', 1) and c.object = split_part(p.name, '.', 2)
  where row_security_active(c.oid) and not exists (
    select from pg_policy as y cross join unnest(y.polroles) as r (id)
    where y.polrelid = c.oid and (r.id = 0 or pg_has_role(r.id, 'usage'))
  )`;

/** Whether the role may do at least one kind of work. */
export const PRIVILEGES: Check = {
  check: "privileges",
  look: async (client) => {
    const { role } = await readRow<{ role: string }>(client, "select current_user as role");
    const lacking = await findLacking(client);
    const able = DUTIES.filter((duty) => lacking[duty].length === 0);
    if (able.length === DUTIES.length) return ok(`${role} may do everything: ${able.join(", ")}`);
    if (able.length > 0) return ok(`${role} may ${able.join(", ")}, and nothing else`);
    const [nearest] = DUTIES.toSorted((a, b) => lacking[a].length - lacking[b].length);
    const lacks = lacking[nearest ?? "work"];
    const more = lacks.length > NAMED_MAX ? `, and ${lacks.length - NAMED_MAX} more` : "";
    const found = `${role} may do none of ${DUTIES.join(", ")}; for ${nearest} it lacks ${lacks.slice(0, NAMED_MAX).join(", ")}${more}`;
    return {
      level: "problem",
      found,
      advice: "Run `roles --apply` as the owner of the tables, and make this role a member of the one that it needs.",
    };
  },
};

async function findLacking(client: pg.Client): Promise<Record<Duty, string[]>> {
  const needs = DUTIES.flatMap((duty) =>
    NEEDS[duty].flatMap(({ kind, name, may }) => may.split(", ").map((each) => ({ duty, kind, name, may: each }))),
  );
  const column = (of: keyof (typeof needs)[number]) => needs.map((need) => need[of]);
  const { rows } = await client.query<{ duty: Duty; lacks: string }>(FIND_LACKING, [
    column("duty"),
    column("kind"),
    column("name"),
    column("may"),
    POLICED,
  ]);
  const lacking: Record<Duty, string[]> = { ingest: [], work: [], read: [], operate: [] };
  for (const { duty, lacks } of rows) lacking[duty].push(lacks);
  return lacking;
}
