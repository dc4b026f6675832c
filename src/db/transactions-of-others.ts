/**
 * Transactions as other libraries have them: each is asked in its own way. They are known by what they can do, so that none of the
 * libraries has to be here.
 */

import { codeOf } from "../errors/database.ts";

/** The one statement. Its only parameter is text: how arrays are passed differs from library to library. */
const STATEMENT = ["select account_id, seq::text as seq, duplicate from inturn.append_json(", "::text::json)"] as const;

/** A row of its answer. */
interface Row {
  readonly account_id: string;
  readonly seq: string;
  readonly duplicate: boolean;
}

type Answer = Promise<unknown>;

/** A client of `pg`, in a transaction. */
interface PgTransaction {
  query(text: string, values: unknown[]): Answer;
}

/** A transaction of drizzle, over `pg` or postgres.js. */
interface DrizzleTransaction {
  execute(query: never): PromiseLike<unknown>;
}

/** A transaction of knex. */
interface KnexTransaction {
  raw(text: string, values: readonly never[]): PromiseLike<unknown>;
}

/** A transaction of kysely. */
interface KyselyTransaction {
  executeQuery(query: never): Answer;
}

/** `sql` of postgres.js, in a transaction. */
interface PostgresJsTransaction {
  unsafe(text: string, values?: never[]): PromiseLike<unknown>;
}

/** A transaction of Prisma. */
interface PrismaTransaction {
  $queryRawUnsafe(text: string, ...values: unknown[]): PromiseLike<unknown>;
}

/** What {@link askThrough} takes. */
export type Transaction =
  | PgTransaction
  | DrizzleTransaction
  | KnexTransaction
  | KyselyTransaction
  | PostgresJsTransaction
  | PrismaTransaction;

/** Runs the statement in somebody's transaction. */
export async function askThrough(transaction: Transaction, events: string): Promise<readonly Row[]> {
  const answer = await ask(transaction, events);
  return (Array.isArray(answer) ? answer : (answer as { rows: Row[] }).rows) as Row[];
}

async function ask(transaction: Transaction, events: string): Promise<unknown> {
  const numbered = STATEMENT.join("$1");
  if (can(transaction, "$queryRawUnsafe")) return await transaction.$queryRawUnsafe(numbered, events);
  if (can(transaction, "unsafe")) return await transaction.unsafe(numbered, [events] as never[]);
  if (can(transaction, "raw")) return await transaction.raw(STATEMENT.join("?"), [events] as never[]);
  if (can(transaction, "executeQuery"))
    return await transaction.executeQuery(compiledForKysely(numbered, events) as never);
  if (can(transaction, "execute")) {
    // Loaded only for who uses it: it is a large library.
    const { sql } = await import("drizzle-orm");
    return await transaction.execute(sql`${sql.raw(STATEMENT[0])}${events}${sql.raw(STATEMENT[1])}` as never);
  }
  return await transaction.query(numbered, [events]);
}

function can<Name extends string>(
  transaction: Transaction,
  name: Name,
): transaction is Extract<Transaction, Record<Name, unknown>> {
  return typeof (transaction as Partial<Record<Name, unknown>>)[name] === "function";
}

/** A statement as kysely's own `CompiledQuery.raw` makes it. */
function compiledForKysely(text: string, events: string): object {
  const query = { kind: "RawNode", sqlFragments: [text], parameters: [] };
  return { sql: text, parameters: [events], query, queryId: { queryId: "inturn_append" } };
}

/** What PostgreSQL said. */
interface Said {
  readonly code: string | undefined;
  readonly constraint: unknown;
  readonly message: string;
}

/** Libraries wrap the database's error; what it says is somewhere in the chain of causes, or where Prisma keeps it. */
export function* saidIn(error: unknown): Iterable<Said> {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { constraint, constraint_name: name = constraint, meta } = cause as WrappedError;
    yield { code: codeOf(cause), constraint: name, message: cause.message };
    const {
      originalCode: code,
      originalMessage: message = "",
      constraint: broken,
    } = meta?.driverAdapterError?.cause ?? {};
    if (code !== undefined) yield { code, constraint: broken?.index, message };
  }
}

/** The fields of `pg`'s errors, of those of postgres.js, and of Prisma's. */
interface WrappedError {
  readonly constraint?: unknown;
  readonly constraint_name?: unknown;
  readonly meta?: {
    readonly driverAdapterError?: {
      readonly cause?: { originalCode?: string; originalMessage?: string; constraint?: { index?: unknown } };
    };
  };
}
