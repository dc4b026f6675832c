/**
 * The roles of a deployment: who migrates owns the tables, and each kind of work has a role that may do no more than it needs. These
 * roles cannot log in; roles that can are made members of them.
 */
import { commandLine } from "../errors/command-line.ts";
import { InturnError } from "../errors/error.ts";
import type { Database } from "./pool.ts";
import { DUTIES, type Duty, NEEDS, POLICED, type Privilege } from "./privileges.ts";

/** What is to be done, and whether it was. */
export interface RolesPlan {
  /** The role that owns the tables, or is to own them. */
  readonly owner: string;
  readonly isMigrated: boolean;
  /** In this order, in one transaction. */
  readonly statements: readonly string[];
  /** What this session lacks to run them; empty when it may. */
  readonly lacks: readonly string[];
}

/** What the database says of itself. */
interface Found {
  readonly database: string;
  readonly me: string;
  readonly mayCreateRoles: boolean;
  readonly mayGrantOnDatabase: boolean;
  /** Of our schema; null when it is not there. */
  readonly owner: string | null;
  /** Whether the tables of this version are there. */
  readonly isMigrated: boolean;
  /** Of our schemas, those that belong to nobody whose member this session is. */
  readonly foreign: readonly string[];
  readonly roles: readonly string[];
  readonly policies: readonly string[];
}

const LOOK = `
  select current_database() as database, current_user as me, r.rolcreaterole or r.rolsuper as "mayCreateRoles",
    pg_has_role(d.datdba, 'usage') as "mayGrantOnDatabase", n.nspowner::regrole::text as owner,
    (select count(*) = 2 from pg_class as c join pg_namespace as s on s.oid = c.relnamespace
      where (s.nspname, c.relname) in (('inturn', 'buckets'), ('graphile_worker', '_private_jobs'))) as "isMigrated",
    array(select s.nspname::text from pg_namespace as s
      where s.nspname in ('inturn', 'graphile_worker') and not pg_has_role(s.nspowner, 'usage')) as foreign,
    array(select o.rolname::text from pg_roles as o where o.rolname = any ($1)) as roles,
    array(select format('%s.%s', p.schemaname, p.tablename) from pg_policies as p where p.policyname = $2) as policies
  from pg_roles as r join pg_database as d on d.datname = current_database()
  left join pg_namespace as n on n.nspname = 'inturn'
  where r.rolname = current_user`;

/** The names of the roles, from what they begin with. */
export function roleNames(prefix: string): Readonly<Record<Duty | "owner", string>> {
  return Object.fromEntries(["owner" as const, ...DUTIES].map((duty) => [duty, `${prefix}${duty}`])) as Record<
    Duty | "owner",
    string
  >;
}

/** Says what has to be done so that each role may do what it is for. Changes nothing. */
export async function planRoles(database: Database, prefix: string): Promise<RolesPlan> {
  const names = roleNames(prefix);
  const { rows } = await database.query<Found>(LOOK, [Object.values(names), names.work]);
  const [found] = rows;
  if (found === undefined) throw new InturnError("database_unavailable", "The database does not know who asks.");
  const { isMigrated } = found;
  if (!isMigrated && found.owner !== null) {
    throw new InturnError(
      "database_not_migrated",
      `There is a schema inturn, without the tables of this version. Run first, as ${found.owner}: ${commandLine("migrate")}`,
    );
  }
  const wanted = isMigrated ? DUTIES.map((duty) => names[duty]) : Object.values(names);
  const missing = wanted.filter((name) => !found.roles.includes(name));
  const statements = [
    ...missing.map((name) => `create role ${quote(name)} nologin`),
    ...(isMigrated
      ? grantAll(names, found)
      : [`grant create on database ${quote(found.database)} to ${quote(names.owner)}`]),
  ];
  return { owner: found.owner ?? names.owner, isMigrated, statements, lacks: findLacks(found, missing, isMigrated) };
}

/**
 * Does it, all or nothing.
 *
 * @throws InturnError `roles_not_allowed` when this session may not: then nothing was changed
 */
export async function applyRoles(database: Database, plan: RolesPlan): Promise<void> {
  if (plan.lacks.length > 0) {
    throw new InturnError("roles_not_allowed", `Nothing was changed. ${plan.lacks.join(" ")}`);
  }
  // Who works meanwhile is waited for, but not for long: everybody else would wait as well.
  await database.query(["begin", "set local lock_timeout = '5s'", ...plan.statements, "commit"].join(";\n"));
}

function findLacks(found: Found, missing: readonly string[], isMigrated: boolean): string[] {
  const lacks: string[] = [];
  if (missing.length > 0 && !found.mayCreateRoles) {
    const statements = missing.map((name) => `create role ${quote(name)} nologin;`).join(" ");
    lacks.push(`${found.me} may not create roles. Let an administrator run: ${statements}`);
  }
  if (!isMigrated && !found.mayGrantOnDatabase)
    lacks.push(`${found.me} does not own the database ${found.database}. Let its owner run this.`);
  if (found.foreign.length > 0)
    lacks.push(
      `${found.me} does not own ${found.foreign.join(" and ")}. Run this as ${found.owner}, or as a member of it.`,
    );
  return lacks;
}

function grantAll(names: Readonly<Record<Duty, string>>, { policies }: Found): string[] {
  const granted = DUTIES.flatMap((duty) => [
    ...revokeAll(names[duty]),
    ...NEEDS[duty].map((privilege) => `grant ${privilege.may} on ${nameObject(privilege)} to ${quote(names[duty])}`),
  ]);
  const policed = POLICED.filter((table) => !policies.includes(table)).map(
    (table) => `create policy ${quote(names.work)} on ${table} to ${quote(names.work)} using (true) with check (true)`,
  );
  // Whoever could use the schema could append.
  const open = NEEDS.ingest.filter(({ name }) => name.startsWith("inturn.append_"));
  return [...open.map((it) => `revoke all on ${nameObject(it)} from public`), ...granted, ...policed];
}

/** What an earlier version needed, and this one does not. */
function revokeAll(role: string): string[] {
  return ["tables", "sequences", "routines"].flatMap((what) =>
    ["inturn", "graphile_worker"].map((schema) => `revoke all on all ${what} in schema ${schema} from ${quote(role)}`),
  );
}

function nameObject({ kind, name }: Privilege): string {
  return `${kind} ${name}`;
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
