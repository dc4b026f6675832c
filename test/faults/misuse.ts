/**
 * What a handler can do wrong with the client of its transaction. Each raises its account's counter, and the transaction either
 * goes well, with the counter, or leaves nothing.
 */
import type { HandlerContext, HandlerEvent } from "../../src/engine/handler.ts";
import type { Misuse } from "./client.ts";

/** Raises an account's counter, in the schema that the session looks into. */
export const RAISE_COUNTER = "insert into counters as c values ($1, 1) on conflict (account) do update set n = c.n + 1";

/** Between two calls of a client that was kept. */
const CALL_AGAIN_MS = 2;

const CALLS = 10;

type Client = Parameters<Parameters<HandlerContext["transaction"]>[0]>[0];

/** Misuses the client of a transaction. Rejects where the transaction does. */
export async function misuse(act: Misuse, event: HandlerEvent, context: HandlerContext): Promise<void> {
  const raise = async (client: Client) => void (await client.query(RAISE_COUNTER, [event.accountId]));
  let kept: Client | undefined;
  await context.transaction(async (client) => {
    if (act === "commit-inside") await client.query("select 1; commit; begin");
    await raise(client);
    kept = client;
    await spoil(act, client);
  });
  if (act === "keep-client" && kept !== undefined) callAgain(kept, raise);
}

async function spoil(act: Misuse, client: Client): Promise<void> {
  const fail = () => client.query("select 1 / 0").catch(() => undefined);
  switch (act) {
    case "fail-unawaited":
      return void fail();
    case "fail-late":
      // By then the settle is on its way, and the commit is not.
      return void setImmediate(() => void fail());
    case "rollback-inside":
      return void (await client.query("select 1; rollback; begin"));
    case "commit-by-hand":
      return void (await client.query("commit").catch(() => undefined));
    case "litter":
      return void (await client.query("set search_path = evil; prepare by_hand as select 1"));
    case "commit-inside":
    case "keep-client":
      return;
  }
}

/** Somebody else has the connection by then. */
function callAgain(client: Client, raise: (client: Client) => Promise<void>): void {
  let calls = 0;
  const timer = setInterval(() => {
    calls += 1;
    if (calls === CALLS) clearInterval(timer);
    // It may throw at once as well.
    void (async () => await raise(client))().catch(() => undefined);
  }, CALL_AGAIN_MS);
}
