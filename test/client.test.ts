/**
 * The client: what it hands over arrives once and in order, whatever the server answers on the way.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createClient, SendError, type SendEvent } from "../src/client/index.ts";
import { withDatabase } from "./support/database.ts";
import { type Answer, REPEATED_AFTER, withFake } from "./support/fake-server.ts";
import { startProcess } from "./support/process.ts";

const event = (accountId: string, n: number): SendEvent => ({ accountId, data: n });

const outcomeOf = async (work: Promise<{ seq: number }>): Promise<number | string> =>
  await work.then(
    ({ seq }) => seq,
    (error: unknown) => (error instanceof SendError ? error.code : String(error)),
  );

test(
  "what is handed in while a request is under way travels together in the next one, in order, with ids and the key",
  withFake(async (server, url) => {
    const client = createClient({ url: `${url}/`, apiKey: "secret", batchEventsMax: 3 });
    const outcomes = [1, 2].map((n) => outcomeOf(client.send(event("a", n))));
    await Promise.all(outcomes);
    const more = [3, 4, 5, 6].map((n) => outcomeOf(client.send(event("a", n))));
    await client.close();
    assert.deepEqual(await Promise.all([...outcomes, ...more]), [1, 2, 3, 4, 5, 6]);
    assert.deepEqual(
      server.requests.map((events) => events.map(({ data }) => data)),
      [[1, 2], [3, 4, 5], [6]],
    );
    assert.equal(new Set(server.requests.flat().map(({ id }) => id)).size, 6);
    assert.equal(server.headers[0]?.authorization, "Bearer secret");
    await assert.rejects(client.send(event("a", 7)), { code: "closed" });
  }),
);

test(
  "a request without a good answer is repeated with the same ids, after as long as the server says",
  withFake(async (server, url) => {
    server.plan = REPEATED_AFTER.slice();
    const client = createClient({ url });
    assert.deepEqual(await client.send(event("a", 1)), { accountId: "a", seq: 1, duplicate: true });
    assert.equal(new Set(server.requests.flat().map(({ id }) => id)).size, 1);
    assert.equal(server.requests.length, 6);
  }),
);

test(
  "who gives up says whether the event may be stored, and no later event of the account overtakes it",
  withFake(async (server, url) => {
    const client = createClient({ url, giveUpMs: 0, batchEventsMax: 1 });
    const busy = { status: 429, headers: { "retry-after": "1" } };
    server.plan = [busy];
    assert.deepEqual(
      await Promise.all(["a", "b", "a"].map((accountId, n) => outcomeOf(client.send(event(accountId, n))))),
      ["unavailable", 1, "predecessor_failed"],
    );
    server.plan = ["lost"];
    assert.equal(await outcomeOf(client.send(event("c", 1))), "outcome_unknown");
    assert.equal(await outcomeOf(client.send(event("a", 5))), 1);
  }),
);

test(
  "a refused event is refused alone; what stood behind it in its account is not sent, unless it is wanted",
  withFake(async (server, url) => {
    const refusal = (index: number): Answer => ({
      status: 409,
      body: { code: "seq_unexpected", detail: "no", currentSeq: 4, errors: [{ pointer: `/${index}/expectedSeq` }] },
    });
    for (const [afterRefusal, expected] of [
      ["stop", [1, "seq_unexpected", 1, "predecessor_failed"]],
      ["continue", [1, "seq_unexpected", 1, 2]],
    ] as const) {
      server.stored.clear();
      server.plan = [refusal(1)];
      const client = createClient({ url, afterRefusal });
      const outcomes = [event("a", 1), event("a", 2), event("b", 1), event("a", 3)].map((one) => client.send(one));
      assert.deepEqual(await Promise.all(outcomes.map(outcomeOf)), expected);
      const error = await outcomes[1]?.catch((thrown: unknown) => thrown);
      assert.deepEqual([(error as SendError).status, (error as SendError).problem?.["currentSeq"]], [409, 4]);
    }
    server.plan = [{ status: 401, body: { code: "key_invalid", detail: "no" } }];
    const client = createClient({ url, queueMax: 2 });
    const outcomes = [1, 2, 3].map((n) => outcomeOf(client.send(event("x", n))));
    assert.deepEqual(await Promise.all(outcomes), ["key_invalid", "key_invalid", "queue_full"]);
  }),
);

test(
  "whatever the answers are on the way, in the end each event is stored once, in order",
  withFake(async (server, url) => {
    const answers = fc.array(
      fc.constantFrom<Answer>(
        "reset",
        "lost",
        { status: 503, headers: { "retry-after": "0" } },
        { status: 429, headers: { "retry-after": "0" }, body: { limit: 2 } },
      ),
      { maxLength: 5 },
    );
    await fc.assert(
      fc.asyncProperty(
        answers,
        fc.array(fc.constantFrom("a", "b"), { minLength: 1, maxLength: 12 }),
        async (plan, accounts) => {
          server.stored.clear();
          server.plan = plan.slice();
          const client = createClient({ url, batchEventsMax: 4 });
          await client.sendAll(accounts.map((accountId, n) => event(accountId, n)));
          await client.close();
          for (const accountId of new Set(accounts)) {
            const expected = [...accounts.keys()].filter((n) => accounts[n] === accountId);
            assert.deepEqual(
              server.stored.get(accountId)?.map(({ data }) => data),
              expected,
            );
          }
        },
      ),
      { numRuns: 15 },
    );
  }),
);

test(
  "against the real server: places come back in order, and a bad event is told from the good ones",
  withDatabase(async (db) => {
    const server = startProcess(["serve", "--port", "0"], { DATABASE_URL: db.url });
    const { url = "" } = await server.ready;
    const client = createClient({ url });
    const events = Array.from({ length: 1_200 }, (_, n) => event(`a${n % 7}`, n));
    const places = await client.sendAll(events);
    assert.deepEqual(
      places.map(({ seq }) => seq),
      events.map((_, n) => Math.floor(n / 7) + 1),
    );
    const outcomes = [event("a0", 1), { ...event("a1", 1), accountId: "" }, { ...event("a2", 1), expectedSeq: 1 }].map(
      (one) => outcomeOf(client.send(one)),
    );
    assert.deepEqual(await Promise.all(outcomes), [173, "event_invalid", "seq_unexpected"]);
    await client.close();
    assert.equal(await server.stop(), 0);
  }),
);
