/**
 * The statement of a settle, and what it is told.
 */
import type { Outcome } from "../domain/account.ts";
import { momentOf } from "./attempts.ts";
import { plainArray } from "./plain-array.ts";
import { isIn } from "./transaction.ts";

/** A call of the handler that is over, with one event or with several in a row. */
export interface SettledCall {
  readonly fromSeq: number;
  readonly seq: number;
  /** How often the handler was started. */
  readonly attempts: number;
  /** When the handler was called, by the database's clock, in microseconds; null when it was not. */
  readonly startedUs: number | null;
  /** How long the handler took; of several events, the share of each. */
  readonly durationMs: number | null;
  /** How many events before it were handled and not settled yet when it started. */
  readonly unsettledBefore: number;
}

/** What the holder of an account's lease is done with: an event, or several in a row. */
export interface Settlement {
  readonly accountId: string;
  readonly epoch: number;
  /** Of the last event. */
  readonly seq: number;
  /** In seq order, without a gap; all but the last one went well. */
  readonly calls: readonly [SettledCall, ...SettledCall[]];
  readonly outcome: Exclude<Outcome, "skipped">;
  /** Why it was set aside; null when it was processed. */
  readonly error: string | null;
  /** Give the account back to the others when it has more events. */
  readonly yields: boolean;
  /**
   * Keep the lease, whatever the answer says: a handler that settles in its own transaction has not returned, or the next call is
   * under way. The turn settles again, or gives the account back, afterwards.
   */
  readonly keepsLease: boolean;
}

/**
 * Settle and finish in one statement: whether anything is left is decided by two columns of the locked row, so an event
 * that arrives meanwhile is either counted here or wakes the account itself. A settle names its epoch and its seq;
 * it changes nothing when either is no longer the account's, which is how a worker learns that its lease is lost.
 * When the turn goes on, the attempt of the next event is counted in the same write.
 *
 * Where settlements are of several events, their calls are parameters of their own.
 *
 * The rows are written in the order of the parameters, by one look-up each, and so locked in it: they come sorted by id. A pass
 * that locks them first would write each of them twice (bench/README.md). Two things keep the plan so: who runs an account is known by
 * its worker, for its state has an index; and the limit has few settlements expected, also where the accounts were few when it was made.
 */
function createSettle({ ofSeveral, inTransaction }: { ofSeveral: boolean; inTransaction: boolean }): string {
  const { types, names, firstSeq, calls, seqs } = ofSeveral ? OF_SEVERAL_CALLS : OF_ONE_EVENT;
  const parameters = ["text", "bigint", "bigint", "text", "text", "boolean", "boolean", ...types];
  const isLast = "a.last_seq = i.seq";
  const nextState = `case when ${isLast} then 'idle' when i.yields or a.paused_at is not null then 'scheduled' else 'running' end`;
  const goesOn = `(i.keeps_lease or not ${isLast} and not i.yields and a.paused_at is null)`;
  return `
  with settled as (
    update inturn.accounts as a
    set processed_seq = i.seq,
      dead = a.dead + (i.outcome = 'dead')::integer,
      state = case when ${goesOn} then 'running' else ${nextState} end,
      state_since = case when ${goesOn} then a.state_since else clock_timestamp() end,
      lease_worker = case when ${goesOn} then a.lease_worker end,
      head_attempts = case when ${goesOn} then 1 else 0 end,
      attempts_forgiven = 0,
      head_error = null,
      head_target = null,
      head_outages = 0,
      snoozed_since = null
    from (
      select * from unnest(${parameters.map((type, i) => `$${i + 1}::${type}[]`).join(", ")})
        with ordinality as i (account_id, epoch, seq, outcome, error, yields, keeps_lease, ${names}, number)
      limit cardinality($1)
    ) as i
    where a.id = i.account_id and a.epoch = i.epoch and a.processed_seq = ${firstSeq} - 1 and a.lease_worker is not null
      ${inTransaction ? `and ${isIn(`$${parameters.length + 1}`)}` : ""}
    returning i.*, ${nextState} as next_state, inturn.waits(a.state, a.paused_at) as waits, clock_timestamp() as settled_at
  ), marked as (
    update inturn.events as e
    set outcome = c.outcome, processed_at = c.settled_at, duration_ms = c.duration_ms, attempts = c.attempts, error = c.error,
      unsettled_before = c.unsettled_before,
      -- What was started too early stays to be seen (see noteEarlyStarts).
      started_at = least(e.started_at, ${momentOf("c.started_us")})
    from (
      select s.account_id, s.outcome, s.settled_at, s.error, c.* from settled as s cross join lateral ${calls}
      -- Together, so that each event is found by both columns of its key.
      offset 0
    ) as c
    where e.account_id = c.account_id and e.seq ${seqs}
  ), woken as materialized (
    select inturn.wake(array_agg(s.account_id), array_agg(s.epoch))
    from settled as s where s.waits having count(*) > 0
  )
  select s.number, s.next_state as state, ceil(date_part('epoch', s.settled_at) * 1000000) as "databaseUs"
  from settled as s left join woken on true`;
}

const OF_ONE_EVENT = {
  types: ["integer", "bigint", "double precision"],
  names: "attempts, started_us, duration_ms",
  firstSeq: "i.seq",
  calls: "(select s.seq, s.attempts, s.started_us, s.duration_ms, null::smallint as unsettled_before) as c",
  seqs: "= c.seq",
};

/** What differs from call to call comes as an array for each settlement, written as text: an array of arrays must not be ragged. */
const OF_SEVERAL_CALLS = {
  types: ["bigint", "text", "text", "text", "text", "text", "text"],
  names: "from_seq, from_seqs, seqs, attempts, started_us, duration_ms, unsettled_before",
  firstSeq: "i.from_seq",
  calls: `unnest(s.from_seqs::bigint[], s.seqs::bigint[], s.attempts::integer[], s.started_us::bigint[], s.duration_ms::double precision[], s.unsettled_before::smallint[])
      as c (from_seq, seq, attempts, started_us, duration_ms, unsettled_before)`,
  seqs: "between c.from_seq and c.seq",
};

const OF_ONE = { name: "inturn_settle", text: createSettle({ ofSeveral: false, inTransaction: false }) };

/** Apart, for a look-up by one key is what most workers settle with. */
const OF_SEVERAL = { name: "inturn_settle_several", text: createSettle({ ofSeveral: true, inTransaction: false }) };

const IN_TRANSACTION = createSettle({ ofSeveral: true, inTransaction: true });

/** A query, as `pg` takes it. */
interface SettleQuery {
  readonly name?: string;
  readonly text: string;
  readonly values: unknown[];
}

/** The query that settles these, in this order. It answers with each one's number, from 1, its state and the database's clock. */
export function settleQuery(settlements: readonly Settlement[]): SettleQuery {
  const ofSeveral = !settlements.every(isOfOne);
  return { ...(ofSeveral ? OF_SEVERAL : OF_ONE), values: valuesOf(settlements, ofSeveral) };
}

function isOfOne({ calls }: Settlement): boolean {
  const [{ fromSeq, seq, unsettledBefore }] = calls;
  return calls.length === 1 && fromSeq === seq && unsettledBefore === 0;
}

/**
 * The same inside a transaction that is open already. Planned anew each time: the session is the user's, its planner settings are
 * not ours.
 *
 * @param mark of the transaction; in another one it writes nothing
 */
export function settleInTransactionQuery(settlement: Settlement, mark: string): SettleQuery {
  return { text: IN_TRANSACTION, values: [...valuesOf([settlement], true), mark] };
}

function valuesOf(settlements: readonly Settlement[], ofSeveral: boolean): unknown[] {
  const column = <Key extends keyof Settlement>(key: Key) => settlements.map((settlement) => settlement[key]);
  const values = [
    column("accountId"),
    plainArray(column("epoch")),
    plainArray(column("seq")),
    plainArray(column("outcome")),
    column("error"),
    plainArray(column("yields")),
    plainArray(column("keepsLease")),
  ];
  if (!ofSeveral) {
    const ofCall = (key: keyof SettledCall) => plainArray(settlements.map(({ calls: [call] }) => call[key]));
    return [...values, ofCall("attempts"), ofCall("startedUs"), ofCall("durationMs")];
  }
  const ofCalls = (valueOf: (call: SettledCall) => number | null) =>
    settlements.map(({ calls }) => plainArray(calls.map(valueOf)));
  return [
    ...values,
    plainArray(settlements.map(({ calls: [{ fromSeq }] }) => fromSeq)),
    ofCalls(({ fromSeq }) => fromSeq),
    ofCalls(({ seq }) => seq),
    ofCalls(({ attempts }) => attempts),
    ofCalls(({ startedUs }) => startedUs),
    ofCalls(({ durationMs }) => durationMs),
    ofCalls(({ unsettledBefore }) => (unsettledBefore === 0 ? null : unsettledBefore)),
  ];
}
