import pg from "pg";
import { RESULT_VIEWS } from "./privileges.ts";

const SCHEMA = "inturn_hub";

/**
 * The SQL that makes a database a hub: in its schema `inturn_hub` each result view has the rows of all cells, with the name of the cell in
 * front. It can be run again, and holds the passwords of the addresses.
 */
export function hubStatements(cells: readonly { readonly name: string; readonly url: string }[]): string[] {
  const schemaOf = (name: string) => pg.escapeIdentifier(`${SCHEMA}_${name}`);
  const ofCells = cells.flatMap(({ name, url }) => {
    const { host, port, database = "", user = "", password } = new pg.Client(url);
    const server = schemaOf(name);
    const options = (given: Readonly<Record<string, unknown>>) =>
      Object.entries(given)
        .filter(([, value]) => value !== undefined && value !== null)
        .map(([key, value]) => `${key} ${pg.escapeLiteral(String(value))}`)
        .join(", ");
    return [
      `drop server if exists ${server} cascade`,
      `drop schema if exists ${server} cascade`,
      `create server ${server} foreign data wrapper postgres_fdw options (${options({ host, port, dbname: database, fetch_size: 1_000 })})`,
      `create user mapping for current_user server ${server} options (${options({ user, password })})`,
      `create schema ${server}`,
      `import foreign schema inturn limit to (${RESULT_VIEWS.join(", ")}) from server ${server} into ${server}`,
    ];
  });
  const views = RESULT_VIEWS.map((view) => {
    const parts = cells.map(
      ({ name }) => `select ${pg.escapeLiteral(name)}::text as cell, r.* from ${schemaOf(name)}.${view} as r`,
    );
    return `create view ${SCHEMA}.${view} as ${parts.join(" union all ")}`;
  });
  return [
    "create extension if not exists postgres_fdw",
    `drop schema if exists ${SCHEMA} cascade`,
    `create schema ${SCHEMA}`,
    ...ofCells,
    ...views,
  ];
}
