import { randomBytes } from "node:crypto";
import pg from "pg";
import { urlOfDatabase } from "../../src/db/migrate.ts";
import { type Database, openDatabase } from "../../src/db/pool.ts";
import { killLeftovers } from "./process.ts";

/** The migrated database that every test clones. */
export const TEMPLATE = "inturn_template";

/** A database of a test's own. */
export interface TestDatabase {
  readonly url: string;
  readonly database: Database;
  /** Runs a query and returns its rows. */
  query<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>;
}

/** A test body with a database of its own, a clone of the migrated template; `empty` starts without any schema. */
export function withDatabase(
  body: (test: TestDatabase) => Promise<void>,
  options: { empty?: boolean } = {},
): () => Promise<void> {
  return async () => {
    const serverUrl = process.env["TEST_DATABASE_URL"];
    if (serverUrl === undefined) throw new Error("Run it with: npm run test:only -- test/<file>");
    const name = `test_${randomBytes(6).toString("hex")}`;
    await administer(serverUrl, `create database ${name} template ${options.empty === true ? "template0" : TEMPLATE}`);
    const url = urlOfDatabase(serverUrl, name);
    const database = openDatabase({
      url,
      name: "test",
      connectionsMax: 20,
      keyedPlans: true,
      onError: () => undefined,
    });
    try {
      await body({
        url,
        database,
        query: async <Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) =>
          (await database.query<Row>(text, values)).rows,
      });
    } finally {
      killLeftovers();
      await database.end();
      await administer(serverUrl, `drop database ${name} with (force)`);
    }
  };
}

async function administer(serverUrl: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: serverUrl });
  await client.connect();
  // Two clones of one template at once get in each other's way.
  await client.query("select pg_advisory_lock(1)");
  await client.query(statement);
  await client.end();
}

/** A pool as a user opens it. Its connections may still be closing when the test's database is dropped: that ends no test. */
export function openUserPool(url: string): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, max: 2 });
  pool.on("error", () => undefined);
  pool.on("connect", (client) => client.on("error", () => undefined));
  return pool;
}
