/** What `doctor` looks at in the server: its version, its settings, and who else uses it. */
import { formatDuration } from "../domain/duration.ts";
import { type Check, ok, readRow } from "./examine-check.ts";
import { POSTGRES_MAJORS } from "./migrate.ts";

/** Clocks that differ by more than this confuse people who read times, and refuse webhooks that were signed in time. */
const CLOCK_MS_MAX = 5_000;

/** A setting that must be as PostgreSQL ships it. */
function mustBeOn(name: string, why: string): Check {
  return {
    check: name.replaceAll("_", "-"),
    look: async (client) => {
      const { setting } = await readRow<{ setting: string }>(client, "select current_setting($1) as setting", [name]);
      if (setting !== "off") return ok(`${name} = ${setting}`);
      return { level: "problem", found: `${name} = off: ${why}`, advice: `Set ${name} = on, and reload the server.` };
    },
  };
}

const VERSION: Check = {
  check: "version",
  look: async (client) => {
    const { version } = await readRow<{ version: string }>(
      client,
      "select current_setting('server_version') as version",
    );
    const major = Number.parseInt(version, 10);
    const found = `PostgreSQL ${version.split(" ")[0]}`;
    const { least, most } = POSTGRES_MAJORS;
    const range = `${least} to ${most}`;
    if (major < least) return { level: "problem", found, advice: `Use a server of version ${range}.` };
    if (major <= most) return ok(found);
    return { level: "warning", found, advice: `This version of Inturn was tested with ${range}.` };
  },
};

const WRITABLE: Check = {
  check: "writable",
  look: async (client) => {
    const { standby, readOnly } = await readRow<{ standby: boolean; readOnly: boolean }>(
      client,
      `select pg_is_in_recovery() as standby, current_setting('transaction_read_only') = 'on' as "readOnly"`,
    );
    if (standby)
      return {
        level: "problem",
        found: "this is a standby, which only reads",
        advice: "Set DATABASE_URL to its primary.",
      };
    if (!readOnly) return ok("it takes writes");
    const advice = "Set default_transaction_read_only = off for the server, the database and the role.";
    return { level: "problem", found: "sessions may only read", advice };
  },
};

const ENCODING: Check = {
  check: "encoding",
  look: async (client) => {
    const { encoding } = await readRow<{ encoding: string }>(
      client,
      "select current_setting('server_encoding') as encoding",
    );
    if (encoding === "UTF8") return ok("UTF8");
    const advice = "Make a database with `create database … encoding 'UTF8' template template0`.";
    return { level: "problem", found: `${encoding}: it cannot hold every text`, advice };
  },
};

const CONNECTIONS: Check = {
  check: "connections",
  look: async (client, { workerConnections, apiConnections }) => {
    const { room, ours, workers } = await readRow<{ room: number; ours: number; workers: number }>(
      client,
      `with sessions as (
         -- Of other roles' sessions a role may see little more than that they are there.
         select s.datname = current_database() and coalesce(s.application_name like 'inturn%', false) as is_ours,
           s.datname, s.usename, s.application_name
         from pg_stat_activity as s
         where s.datid is not null and coalesce(s.backend_type, 'client backend') = 'client backend'
       )
       select least(
           current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
             - (select count(*) from sessions where not is_ours),
           (select nullif(datconnlimit, -1) from pg_database where datname = current_database())
             - (select count(*) from sessions where not is_ours and datname = current_database()),
           (select nullif(rolconnlimit, -1) from pg_roles where rolname = current_user)
             - (select count(*) from sessions where not is_ours and usename = current_user)
         )::integer as room,
         (select count(*) from sessions where is_ours)::integer as ours,
         greatest(1, (select count(*) from sessions where is_ours and application_name = 'inturn sign of life'))::integer as workers`,
    );
    const needed = Math.max(ours, workers * workerConnections + apiConnections);
    const found = `room for ${room}; ${workers} worker(s) and an API take up to ${needed}`;
    if (needed <= room) return ok(found);
    const advice = `Raise max_connections, or the limit of the role or the database: a worker takes up to ${workerConnections}, an API process ${apiConnections}.`;
    return { level: "warning", found, advice };
  },
};

const CLOCK: Check = {
  check: "clock",
  look: async (client, { nowMs }) => {
    const beforeMs = nowMs();
    const { ms } = await readRow<{ ms: number }>(
      client,
      "select (extract(epoch from clock_timestamp()) * 1000)::double precision as ms",
    );
    const awayMs = Math.abs(ms - (beforeMs + nowMs()) / 2);
    const found = `${formatDuration(awayMs)} between the server's clock and this machine's`;
    if (awayMs <= CLOCK_MS_MAX) return ok(found);
    return { level: "warning", found, advice: "Let both follow NTP. The order of events does not depend on it." };
  },
};

const OLD_SNAPSHOT: Check = {
  check: "old-snapshot",
  look: async (client, { snapshotSecondsMax }) => {
    const { who, seconds } = await readRow<{ who: string | null; seconds: number | null }>(
      client,
      `select (array_agg(s.who order by s.since))[1] as who,
         extract(epoch from clock_timestamp() - min(s.since))::double precision as seconds
       from (
         select format('session %s of %s, %s', pid, usename, coalesce(nullif(application_name, ''), 'without a name')) as who, xact_start as since
         from pg_stat_activity
         where datname = current_database() and backend_type = 'client backend' and coalesce(backend_xmin, backend_xid) is not null and pid <> pg_backend_pid()
         union all
         select format('prepared transaction %s of %s', gid, owner), prepared from pg_prepared_xacts where database = current_database()
       ) as s`,
    );
    if (who === null || (seconds ?? 0) <= snapshotSecondsMax) return ok("nobody keeps an old snapshot");
    const found = `${who}, keeps a snapshot for ${formatDuration(1_000 * (seconds ?? 0))}: events cost more and more`;
    return { level: "warning", found, advice: "End it, with pg_terminate_backend(pid) say; see docs/metrics.md." };
  },
};

const AUTOVACUUM: Check = {
  check: "autovacuum",
  look: async (client) => {
    const { off, tables } = await readRow<{ off: boolean; tables: string[] | null }>(
      client,
      `select current_setting('autovacuum') = 'off' or current_setting('track_counts') = 'off' as off,
         (select array_agg(format('%I.%I', n.nspname, c.relname) order by 1) from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
          where n.nspname in ('inturn', 'graphile_worker') 
            and exists (select from unnest(c.reloptions) as o where o ~* '^autovacuum_enabled=(false|off|no|0)$')) as tables`,
    );
    if (!off && tables === null) return ok("it is on");
    const found = off ? "it is off" : `it is off for ${tables?.join(", ")}`;
    const advice = off
      ? "Set autovacuum = on and track_counts = on."
      : "Run `alter table … reset (autovacuum_enabled)` for them.";
    return { level: "problem", found: `${found}: old versions of rows pile up for ever`, advice };
  },
};

/** In the order in which they are told. */
export const SERVER_CHECKS: readonly Check[] = [
  VERSION,
  WRITABLE,
  ENCODING,
  mustBeOn("fsync", "a crash of the machine loses what was acknowledged, or the whole database"),
  mustBeOn("full_page_writes", "a crash of the machine may leave torn pages"),
  mustBeOn("synchronous_commit", "a crash of the server loses events that were acknowledged"),
  CONNECTIONS,
  CLOCK,
  OLD_SNAPSHOT,
  AUTOVACUUM,
];
