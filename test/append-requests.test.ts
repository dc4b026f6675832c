/**
 * Many requests in one transaction: each is stored whole or refused whole, as if it had come alone.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type AppendAnswer, appendRequests } from "../src/db/append.ts";
import { createAppender } from "../src/engine/append.ts";
import { InturnError } from "../src/errors/error.ts";
import { appendEvents, NO_CAPS, newEvent } from "./support/append.ts";
import { withDatabase } from "./support/database.ts";
import { oneTo } from "./support/effects.ts";

const PENDING_MAX = 6;

interface Sent {
  readonly accountId: string;
  readonly id: string | null;
  readonly content: number;
  readonly expectedSeq: number | null;
}

/** What the database should do, one event after the other. */
class Model {
  readonly accounts = new Map<string, { id: string | null; content: number }[]>();

  append(request: readonly Sent[]): AppendAnswer {
    const before = new Map([...this.accounts].map(([accountId, events]) => [accountId, [...events]]));
    const appended = [];
    for (const [index, event] of request.entries()) {
      const events = this.accounts.get(event.accountId) ?? [];
      this.accounts.set(event.accountId, events);
      const place = event.id === null ? -1 : events.findIndex((known) => known.id === event.id);
      const code =
        place >= 0
          ? events[place]?.content !== event.content && "event_id_reused"
          : event.expectedSeq !== null && event.expectedSeq !== events.length + 1
            ? "seq_unexpected"
            : events.length + 1 > PENDING_MAX && "account_full";
      if (code !== false) {
        this.accounts.clear();
        for (const [accountId, restored] of before) this.accounts.set(accountId, restored);
        const currentSeq = before.get(event.accountId)?.length ?? 0;
        return { refusal: { code, index, accountId: event.accountId, currentSeq } };
      }
      if (place < 0) events.push({ id: event.id, content: event.content });
      appended.push({
        accountId: event.accountId,
        seq: place >= 0 ? place + 1 : events.length,
        duplicate: place >= 0,
      });
    }
    return { appended };
  }
}

const sent = fc.record({
  accountId: fc.constantFrom("a", "b"),
  id: fc.option(fc.constantFrom("i", "j", "k")),
  content: fc.constantFrom(1, 1, 1, 2),
  expectedSeq: fc.option(fc.integer({ min: 1, max: 5 }), { freq: 2 }),
});

test(
  "whatever the requests, they are stored and refused as if each had come alone, in their order",
  withDatabase(async (db) => {
    const batches = fc.array(fc.array(fc.array(sent, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 }), {
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(batches, async (requests) => {
        await db.query("truncate inturn.accounts, inturn.events");
        const model = new Model();
        for (const batch of requests) {
          const answers = await appendRequests(
            db.database,
            batch.map((request) =>
              request.map(({ content, ...event }) => newEvent({ ...event, data: JSON.stringify({ content }) })),
            ),
            { accountPendingMax: PENDING_MAX },
          );
          assert.deepEqual(
            answers,
            batch.map((request) => model.append(request)),
          );
        }
        const stored = await db.query<{ account_id: string; events: unknown[]; seqs: number[] }>(
          `select account_id, json_agg(json_build_object('id', event_id, 'content', (data ->> 'content')::integer) order by seq) as events,
             array_agg(seq order by seq)::integer[] as seqs
           from inturn.events group by 1 order by 1`,
        );
        const expected = [...model.accounts]
          .filter(([, events]) => events.length > 0)
          .toSorted(([a], [b]) => (a < b ? -1 : 1));
        assert.deepEqual(
          stored.map(({ account_id, events, seqs }) => [account_id, events, seqs]),
          expected.map(([accountId, events]) => [accountId, events, oneTo(events.length)]),
        );
        const counts = await db.query<{ id: string; last_seq: number }>(
          "select id, last_seq from inturn.accounts where last_seq > 0 order by 1",
        );
        assert.deepEqual(
          counts.map(({ id, last_seq }) => [id, last_seq]),
          expected.map(([accountId, events]) => [accountId, events.length]),
        );
      }),
      { numRuns: 150 },
    );
  }),
);

test(
  "the same id with the same content is a duplicate, however its JSON is written; with other content it is refused",
  withDatabase(async (db) => {
    const first = { accountId: "a", id: "i", type: "t", occurredAt: "2026-01-01T00:00:00Z" };
    await appendEvents(db.database, [newEvent({ ...first, data: '{"x": 1, "y": [1.0]}' })]);
    const again = newEvent({ ...first, data: '{"y":[1],"x":1}' });
    assert.deepEqual(await appendEvents(db.database, [again]), [{ accountId: "a", seq: 1, duplicate: true }]);
    const others = [
      { ...again, data: '{"y":[1],"x":2}' },
      { ...again, type: null },
      { ...again, type: "u" },
      { ...again, occurredAt: "2026-01-01T00:00:01Z" },
      { ...again, occurredAt: null },
    ];
    for (const other of others) {
      assert.deepEqual(await appendRequests(db.database, [[other]], NO_CAPS), [
        { refusal: { code: "event_id_reused", index: 0, accountId: "a", currentSeq: 1 } },
      ]);
    }
  }),
);

test(
  "a refused request does not hold up what shares its transaction, and the caller hears why it was refused",
  withDatabase(async (db) => {
    const appender = createAppender(db.database, { accountPendingMax: 2, pendingMax: 1_000 });
    const reasonOf = async (work: Promise<unknown>) =>
      await work.then(
        () => "stored",
        (error: unknown) => (error instanceof InturnError ? [error.code, error.data] : error),
      );
    const outcomes = await Promise.all([
      reasonOf(appender.append([newEvent({ accountId: "a" })])),
      reasonOf(appender.append([newEvent({ accountId: "b" }), newEvent({ accountId: "a", expectedSeq: 7 })])),
      reasonOf(appender.append([newEvent({ accountId: "a", expectedSeq: 2 })])),
      reasonOf(appender.append([newEvent({ accountId: "a" })])),
      reasonOf(appender.append([newEvent({ accountId: "b" })])),
    ]);
    assert.deepEqual(outcomes, [
      "stored",
      ["seq_unexpected", { index: 1, accountId: "a", currentSeq: 1 }],
      "stored",
      ["account_full", { index: 0, accountId: "a", currentSeq: 2 }],
      "stored",
    ]);
  }),
);

test(
  "when too many events wait in total, more are refused until some are handled",
  withDatabase(async (db) => {
    const appender = createAppender(db.database, { accountPendingMax: 1_000, pendingMax: 3 });
    await appender.append([newEvent({ accountId: "a" }), newEvent({ accountId: "b" }), newEvent({ accountId: "b" })]);
    await assert.rejects(appender.append([newEvent({ accountId: "c" })]), { code: "backlog_full" });
    await db.query("update inturn.accounts set processed_seq = last_seq, state = 'idle'");
    for (let stored = false; !stored; ) {
      stored = await appender.append([newEvent({ accountId: "c" })]).then(
        () => true,
        () => new Promise((resolve) => setTimeout(resolve, 50, false)),
      );
    }
    assert.equal((await db.query("select from inturn.events where account_id = 'c'")).length, 1);
  }),
);
