/**
 * Loaded into a process under test with `--import`: kills it at a named point, before, during or after the n-th statement
 * of a kind. Nothing of it is in the product.
 *
 * `FAULTS_FAIL_POINT=<statement>:<before|during|after>:<n>`; the statement is a prepared statement's name, or a part of
 * its text.
 */
import pg from "pg";

type Query = (...values: unknown[]) => unknown;
type Answer = (error: unknown, result: unknown) => void;

const [statement = "", moment = "before", times = "1"] = (process.env["FAULTS_FAIL_POINT"] ?? "").split(":");
const prototype = pg.Client.prototype as unknown as { query: Query };
const query = prototype.query;
let left = Number(times);

if (statement !== "") {
  prototype.query = function (this: pg.Client, ...values: unknown[]): unknown {
    if (!isMeant(values[0]) || --left !== 0) return query.apply(this, values);
    if (moment === "before") die();
    if (moment === "during") {
      // Written to the socket in this round of events: the server carries it out, and nobody hears of it.
      setTimeout(die, 1);
      return query.apply(this, values);
    }
    const place = values.findLastIndex((value) => typeof value === "function");
    if (place !== -1) {
      values[place] = die satisfies Answer;
      return query.apply(this, values);
    }
    return (query.apply(this, values) as Promise<unknown>).then(die);
  };
}

function isMeant(what: unknown): boolean {
  const { name = "", text = "" } = (typeof what === "string" ? { text: what } : what) as {
    name?: string;
    text?: string;
  };
  return name === statement || text.includes(statement);
}

function die(): void {
  process.kill(process.pid, "SIGKILL");
}
