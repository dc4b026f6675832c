/** What an operator does to many accounts at once, while workers come and go. */
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../../support/until.ts";
import type { Bench } from "../bench.ts";
import { monotonicMs } from "../clock.ts";
import { accountsNamed, type Scenario, sendSlowTraffic } from "../scenario.ts";

/** What somebody does over HTTP. */
async function post<Answer>(bench: Bench, path: string, body: object): Promise<Answer> {
  const response = await fetch(`${bench.servers[0]?.url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`POST ${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as Answer;
}

/** Everything is paused while one worker after the other is replaced, one of them killed and one stopped; and then goes on. */
export const pausedRestart: Scenario = {
  name: "paused-restart",
  fault: 41,
  promise: "after the answer to a pause of everything no handler starts until it is resumed, whoever comes and goes",
  async run(bench) {
    await bench.start({ servers: 1, workers: 3 });
    sendSlowTraffic(bench, { eventsPerAccount: 20, overMs: 3_000, mayBeDeaf: false });
    await bench.untilInHand(() => true);
    await sleep(bench.random.int(0, 500));
    const asked = post<{ id: number; unconfirmed: object[] }>(bench, "/v1/pauses", { all: true, why: "a restart" });
    await replaceOldest(bench);
    const { id, unconfirmed } = await asked;
    if (unconfirmed.length > 0) throw new Error(`not confirmed by ${JSON.stringify(unconfirmed)}`);
    const fromMs = monotonicMs();
    const stopped = bench.random.pick(bench.workers);
    stopped.process.child.kill("SIGSTOP");
    await replaceOldest(bench, stopped);
    bench.kill(bench.random.pick(bench.workers.filter((worker) => worker !== stopped)), undefined);
    await bench.startPart("work");
    await sleep(bench.random.int(500, bench.isFull ? 20_000 : 3_000));
    stopped.process.child.kill("SIGCONT");
    bench.noteAbsence(stopped, fromMs);
    await sleep(bench.random.int(500, 1_500));
    const toMs = monotonicMs();
    const started = (await bench.calls()).filter(({ startMs }) => startMs > fromMs && startMs < toMs);
    if (started.length > 0) throw new Error(`${started.length} handlers started while everything was paused`);
    const [found] = await bench.query<{ rests: number }>("select accounts::integer as rests from inturn.pause_status");
    if (found?.rests !== 12) throw new Error(`${found?.rests} of 12 accounts rest`);
    await post(bench, `/v1/pauses/${id}/resume`, bench.random.oneIn(2) ? { rate: 200 } : {});
  },
};

async function replaceOldest(bench: Bench, notThis?: Bench["workers"][number]): Promise<void> {
  await bench.startPart("work");
  const oldest = bench.workers.find((worker) => worker !== notThis);
  const end = oldest === undefined ? 0 : await bench.dismiss(oldest);
  if (end !== 0) throw new Error(`a worker told to stop ended with ${end}`);
}

/** Hundreds of blocked accounts are tried again by one operation; all workers are killed twice in the middle of it. */
export const killedOperation: Scenario = {
  name: "killed-operation",
  fault: 42,
  promise: "an operation goes on where it was, and does each account once, whoever dies",
  async run(bench) {
    const accounts = accountsNamed("o", bench.isFull ? 5_000 : 400);
    const rate = accounts.length / 4;
    await bench.start({ servers: 1, workers: 2 });
    const behaviourOf = () => ({ failures: 1, act: "give-up" }) as const;
    bench.clients.send({ accounts, eventsPerAccount: 1, overMs: 1_000, behaviourOf });
    const countBlocked = async () =>
      (
        await bench.query<{ n: number }>("select count(*)::integer as n from inturn.accounts where state = 'blocked'")
      )[0]?.n;
    await until("all are blocked", async () => (await countBlocked()) === accounts.length, 60_000);
    const { matched } = await post<{ matched: number }>(bench, "/v1/operations", {
      verb: "retry",
      where: { states: ["blocked"], error: "fails as told" },
      rate,
    });
    if (matched !== accounts.length) throw new Error(`${matched} of ${accounts.length} match`);
    for (const share of [0.25, 0.6]) {
      await until("it is half-way", async () => (await triedOf(bench)) >= share * accounts.length, 30_000);
      for (const worker of bench.workers) bench.kill(worker, undefined);
      const killedAt = await triedOf(bench);
      if (killedAt >= accounts.length) throw new Error("it had ended before its process was killed");
      await bench.start({ workers: 2 });
    }
    await until("it has ended", async () => (await triedOf(bench)) === accounts.length, 60_000);
    const [row] = await bench.query<{ done: number; accounts: number; verbs: number }>(`
      select (select s.done::integer from inturn.operation_status as s) as done,
        count(distinct l.account_id)::integer as accounts, count(*)::integer as verbs
      from inturn.operator_log as l where l.operation_id is not null and l.verb = 'retry'`);
    if (row?.done !== accounts.length || row.accounts !== accounts.length || row.verbs !== accounts.length)
      throw new Error(`of ${accounts.length} accounts: ${JSON.stringify(row)}`);
  },
};

async function triedOf(bench: Bench): Promise<number> {
  return (await bench.query<{ tried: number }>("select tried::integer from inturn.operation_status"))[0]?.tried ?? 0;
}
