/**
 * PostgreSQL's time by statement: a server of its own with `pg_stat_statements`, which costs each statement a little.
 */
import type pg from "pg";
import { FaultServer } from "../test/faults/server.ts";
import { openScratch, print, type Scratch } from "./support.ts";

/** Statements that the report names. */
const STATEMENTS_MAX = 12;

/** Of a statement's text, in characters. */
const TEXT_MAX = 90;

/** A database for measurements. @param counts whether its server is one of its own that counts statements, inside functions too */
export async function openCounting(counts: boolean): Promise<Scratch> {
  if (!counts) return await openScratch();
  const server = await FaultServer.create({
    settings: "shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.track = 'all'",
  });
  await server.createDatabase("inturn");
  const scratch = await openScratch({ serverUrl: server.adminUrl("inturn") });
  const release = async () => {
    await scratch.release();
    await server.remove();
  };
  return { ...scratch, release };
}

/** Begins to count anew. */
export async function resetStatements(client: pg.Client): Promise<void> {
  await client.query("create extension if not exists pg_stat_statements");
  await client.query("select pg_stat_statements_reset()");
}

interface StatementRow {
  readonly share: number;
  readonly isNested: boolean;
  readonly calls: string;
  readonly usEach: number;
  readonly text: string;
}

/** Prints where the time of the statements went, the costliest first. @param events that were done meanwhile */
export async function printStatements(client: pg.Client, scenario: string, events: number): Promise<void> {
  const { rows } = await client.query<StatementRow>(
    `select 100 * total_exec_time / sum(total_exec_time) filter (where toplevel) over () as share, not toplevel as "isNested", calls,
       1000 * total_exec_time / $1 as "usEach", regexp_replace(query, '\\s+', ' ', 'g') as text
     from pg_stat_statements where dbid = (select oid from pg_database where datname = current_database())
     order by total_exec_time desc limit ${STATEMENTS_MAX}`,
    [events],
  );
  print(`\n${scenario}, PostgreSQL's time by statement; "in" marks what runs inside a function, and counts there too`);
  print("share  µs/event     calls");
  for (const { share, usEach, calls, isNested, text } of rows) {
    const numbers = [`${share.toFixed(1).padStart(4)}%`, usEach.toFixed(1).padStart(9), calls.padStart(9)];
    print(`${numbers.join(" ")}  ${isNested ? "in " : ""}${text.trim().slice(0, TEXT_MAX)}`);
  }
}
