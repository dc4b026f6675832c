/**
 * A sender that trusts nothing: every request three times, while its server is killed again and again.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { withDatabase } from "./support/database.ts";
import { oneTo } from "./support/effects.ts";
import { startProcess, type TestProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

const CONNECTIONS = 8;
const EVENTS_PER_ACCOUNT = 60;
const KILLS = 5;

test(
  "eight senders repeat every request three times while the server is killed five times: each event is stored once, in order",
  withDatabase(async (db) => {
    let server: TestProcess = startProcess(["serve", "--port", "0"], { DATABASE_URL: db.url });
    const { port } = new URL((await server.ready).url ?? "");
    let acknowledged = 0;
    let unanswered = 0;

    /** The seq, as soon as there is an answer that says one. */
    async function post(body: string): Promise<number> {
      for (;;) {
        try {
          const response = await fetch(`http://127.0.0.1:${port}/v1/events`, {
            method: "POST",
            headers: { "content-type": "application/json" },
            body,
          });
          const answer = (await response.json()) as { seq: number };
          if (response.status === 202) return answer.seq;
          assert.equal(response.status, 503);
        } catch (error) {
          if (error instanceof assert.AssertionError) throw error;
          unanswered += 1;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
    }

    async function send(accountId: string): Promise<void> {
      for (let n = 1; n <= EVENTS_PER_ACCOUNT; n++) {
        const body = JSON.stringify({ accountId, id: `${accountId}-${n}`, data: n });
        for (let copy = 0; copy < 3; copy++) assert.equal(await post(body), n);
        acknowledged += 1;
      }
    }

    async function killAgainAndAgain(): Promise<void> {
      for (let kill = 1; kill <= KILLS; kill++) {
        const enough = (kill * CONNECTIONS * EVENTS_PER_ACCOUNT) / (KILLS + 1);
        await until("enough was acknowledged", async () => acknowledged >= enough, 30_000);
        server.child.kill("SIGKILL");
        await server.ended;
        server = startProcess(["serve", "--port", port], { DATABASE_URL: db.url });
        await server.ready;
      }
    }

    const accounts = Array.from({ length: CONNECTIONS }, (_, i) => `a${i}`);
    await Promise.all([killAgainAndAgain(), ...accounts.map(send)]);
    assert.ok(unanswered > 0);
    const rows = await db.query<{ seqs: number[]; data: number[] }>(
      `select array_agg(seq order by seq)::integer[] as seqs, array_agg(data::text::integer order by seq) as data
       from inturn.events group by account_id`,
    );
    const expected = { seqs: oneTo(EVENTS_PER_ACCOUNT), data: oneTo(EVENTS_PER_ACCOUNT) };
    assert.deepEqual(
      rows,
      accounts.map(() => expected),
    );
    assert.equal(await server.stop(), 0);
  }),
);
