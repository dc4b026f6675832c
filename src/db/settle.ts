import type { AccountState, Outcome } from "../domain/account.ts";
import { compareBytes } from "../domain/byte-order.ts";
import { momentOf, recordAttempts } from "./attempts.ts";
import { plainArray } from "./plain-array.ts";
import type { Queryable } from "./pool.ts";
import { isIn } from "./transaction.ts";

/** An event that is done with, or several in a row, by the holder of its account's lease. */
export interface Settlement {
  readonly accountId: string;
  readonly epoch: number;
  /** Of the event; of several, of the last one. */
  readonly seq: number;
  /** Of several events, of the first one. */
  readonly fromSeq?: number;
  readonly outcome: Exclude<Outcome, "skipped">;
  /** Why it was set aside; null when it was processed. */
  readonly error: string | null;
  /** How often its handler was started. */
  readonly attempts: number;
  /** When the handler was called, by the database's clock, in microseconds; null when it was not. */
  readonly startedUs: number | null;
  /** How long the handler took; of several events, the share of each. */
  readonly durationMs: number | null;
  /** Give the account back to the others when it has more events. */
  readonly yields: boolean;
  /**
   * Keep the lease, whatever the answer says: the handler that settles in its own transaction has not returned, and
   * until then the next event must not start. The turn gives the account back afterwards.
   */
  readonly keepsLease: boolean;
}

/**
 * What became of the account: `running` (the turn goes on), `scheduled` (it was given back) or `idle` (nothing is left). Where
 * the settle keeps the lease it is what will become of it.
 */
export interface Settled {
  readonly state: AccountState;
  /** The database's clock when this was settled, in microseconds. */
  readonly databaseUs: number;
}

/**
 * Settle and finish in one statement: whether anything is left is decided by two columns of the locked row, so an event
 * that arrives meanwhile is either counted here or wakes the account itself. A settle names its epoch and its seq;
 * it changes nothing when either is no longer the account's, which is how a worker learns that its lease is lost.
 * When the turn goes on, the attempt of the next event is counted in the same write.
 *
 * The rows are written in the order of the parameters, by one look-up each, and so locked in it: they come sorted by id. A pass
 * that locks them first would write each of them twice (bench/README.md). Two things keep the plan so: who runs an account is known by
 * its worker, for its state has an index; and the limit has few settlements expected, also where the accounts were few when it was made.
 */
function createSettle({ ofSeveral, inTransaction }: { ofSeveral: boolean; inTransaction: boolean }): string {
  const firstSeq = ofSeveral ? "i.from_seq" : "i.seq";
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
      select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::integer[], $7::bigint[], $8::double precision[], $9::boolean[], $10::boolean[], $11::bigint[])
        with ordinality as i (account_id, epoch, seq, outcome, error, attempts, started_us, duration_ms, yields, keeps_lease, from_seq, number)
      limit cardinality($1)
    ) as i
    where a.id = i.account_id and a.epoch = i.epoch and a.processed_seq = ${firstSeq} - 1 and a.lease_worker is not null
      ${inTransaction ? `and ${isIn("$12")}` : ""}
    returning i.*, ${nextState} as next_state, inturn.waits(a.state, a.paused_at) as waits, clock_timestamp() as settled_at
  ), marked as (
    update inturn.events as e
    set outcome = s.outcome, processed_at = s.settled_at, duration_ms = s.duration_ms, attempts = s.attempts, error = s.error,
      -- What was started too early stays to be seen (see noteEarlyStarts).
      started_at = least(e.started_at, ${momentOf("s.started_us")})
    from settled as s
    where e.account_id = s.account_id and e.seq ${ofSeveral ? "between s.from_seq and s.seq" : "= s.seq"}
  ), woken as materialized (
    select inturn.wake(array_agg(s.account_id), array_agg(s.epoch))
    from settled as s where s.waits having count(*) > 0
  )
  select s.number, s.next_state as state, ceil(date_part('epoch', s.settled_at) * 1000000) as "databaseUs"
  from settled as s left join woken on true`;
}

/**
 * A settle whose answer got lost may be sent again: under its epoch no other worker can have moved the account past the event, so the
 * repetition changes nothing and hears how the account stands. Not so inside a transaction of a handler's: an event that is settled
 * already, in whichever way, is none that its writes may be committed for.
 */
const SETTLED_BEFORE = `
  select i.number, a.state, ceil(date_part('epoch', clock_timestamp()) * 1000000) as "databaseUs"
  from unnest($1::text[], $2::bigint[], $3::bigint[]) with ordinality as i (account_id, epoch, seq, number)
  join inturn.accounts as a on a.id = i.account_id and a.epoch = i.epoch and a.processed_seq = i.seq`;

const SETTLE = { name: "inturn_settle", text: createSettle({ ofSeveral: false, inTransaction: false }) };

/** Apart, for a look-up by one key is what most workers settle with. */
const SETTLE_SEVERAL = { name: "inturn_settle_several", text: createSettle({ ofSeveral: true, inTransaction: false }) };

const SETTLE_IN_TRANSACTION = createSettle({ ofSeveral: true, inTransaction: true });

/** A settlement's number among those that were sent, from 1, and what became of its account. */
interface SettledRow extends Settled {
  readonly number: number;
}

/**
 * Settles these events in one transaction, at most one settlement of each account under each epoch.
 *
 * @returns for each what became of its account; undefined when its lease was lost, and then nothing of it was written
 */
export async function settleEvents(
  database: Queryable,
  settlements: readonly Settlement[],
): Promise<(Settled | undefined)[]> {
  const order = settlements
    .map((_, i) => i)
    .toSorted((a, b) => compareBytes(idOf(settlements, a), idOf(settlements, b)));
  const sorted = order.map((i) => settlements[i]).filter((settlement) => settlement !== undefined);
  const statement = sorted.some(({ fromSeq }) => fromSeq !== undefined) ? SETTLE_SEVERAL : SETTLE;
  const { rows } = await database.query<SettledRow>({ ...statement, values: valuesOf(sorted) });
  const answers: (Settled | undefined)[] = Array.from({ length: settlements.length });
  for (const row of rows) answers[order[row.number - 1] ?? -1] = row;
  if (rows.length < settlements.length) await answerTheRest(database, settlements, answers);
  const dead = settlements.filter(({ outcome }) => outcome === "dead");
  if (dead.length > 0) await rememberLastAttempts(database, dead);
  return answers;
}

const idOf = (settlements: readonly Settlement[], i: number): string => settlements[i]?.accountId ?? "";

/** Those that were settled before hear so; those that were refused leave a trace where they broke the order. */
async function answerTheRest(
  database: Queryable,
  settlements: readonly Settlement[],
  answers: (Settled | undefined)[],
): Promise<void> {
  const values = [
    settlements.map(({ accountId }) => accountId),
    plainArray(settlements.map(({ epoch }) => epoch)),
    plainArray(settlements.map(({ seq }, i) => (answers[i] === undefined ? seq : null))),
  ];
  const { rows } = await database.query<SettledRow>({ text: SETTLED_BEFORE, values });
  for (const row of rows) answers[row.number - 1] = row;
  const refused = settlements.filter((_, i) => answers[i] === undefined);
  if (refused.length > 0) await noteEarlyStarts(database, refused);
}

/** The last attempts of events that became dead letters by these settlements. Only a trace: a settle must not fail because of it. */
async function rememberLastAttempts(database: Queryable, dead: readonly Settlement[]): Promise<void> {
  const column = <Key extends keyof Settlement>(key: Key) => dead.map((settlement) => settlement[key]);
  const values = [column("accountId"), column("seq"), column("attempts"), column("startedUs"), column("error")];
  await database.query({ text: REMEMBER, values }).catch(() => undefined);
}

const REMEMBER = recordAttempts(`
  select i.account_id, i.seq, i.attempt, null::uuid as worker_id, ${momentOf("i.started_us")} as started_at, e.outcome || '-letter' as outcome, i.error
  from unnest($1::text[], $2::bigint[], $3::integer[], $4::bigint[], $5::text[]) as i (account_id, seq, attempt, started_us, error)
  join inturn.events as e on e.account_id = i.account_id and e.seq = i.seq and e.outcome = 'dead' and e.attempts = i.attempt
  where i.started_us is not null`);

/**
 * Settles one event inside a transaction that is open already, together with whatever was written in it. Planned anew each
 * time: the session is the user's, its planner settings are not ours.
 *
 * @param mark of the transaction; in another one it writes nothing, and answers `elsewhere`
 */
export async function settleInTransaction(
  client: Queryable,
  settlement: Settlement,
  mark: string,
): Promise<Settled | "elsewhere" | undefined> {
  const values = [...valuesOf([settlement]), mark];
  const { rows } = await client.query<Settled>({ text: SETTLE_IN_TRANSACTION, values });
  if (rows[0] !== undefined) return rows[0];
  const { rows: answers } = await client.query<{ isIn: boolean }>(`select ${isIn("$1")} as "isIn"`, [mark]);
  return answers[0]?.isIn === true ? undefined : "elsewhere";
}

/**
 * Of these settles that were refused, marks the events that were started under a lease which still lasts, while their
 * predecessor is not settled: whatever told the worker that it was has lied. The order was broken, and
 * `inturn.order_violations` shows it, also when both are settled in the end.
 */
export async function noteEarlyStarts(database: Queryable, refused: readonly Settlement[]): Promise<void> {
  const column = <Key extends keyof Settlement>(key: Key) => refused.map((settlement) => settlement[key]);
  const values = [column("accountId"), column("epoch"), column("seq"), column("startedUs"), firstSeqs(refused)];
  // Only a trace: a settle must not fail because of it.
  await database.query({ text: NOTE_EARLY_STARTS, values }).catch(() => undefined);
}

const NOTE_EARLY_STARTS = `
  update inturn.events as e
  set started_at = least(e.started_at, ${momentOf("i.started_us")})
  from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) as i (account_id, epoch, seq, started_us, from_seq)
  join inturn.accounts as a on a.id = i.account_id and a.epoch = i.epoch and a.processed_seq < i.from_seq - 1
  where e.account_id = i.account_id and e.seq between i.from_seq and i.seq`;

function firstSeqs(settlements: readonly Settlement[]): number[] {
  return settlements.map(({ fromSeq, seq }) => fromSeq ?? seq);
}

function valuesOf(settlements: readonly Settlement[]): unknown[] {
  const column = <Key extends keyof Settlement>(key: Key) => settlements.map((settlement) => settlement[key]);
  return [
    column("accountId"),
    plainArray(column("epoch")),
    plainArray(column("seq")),
    plainArray(column("outcome")),
    column("error"),
    plainArray(column("attempts")),
    plainArray(column("startedUs")),
    plainArray(column("durationMs")),
    plainArray(column("yields")),
    plainArray(column("keepsLease")),
    plainArray(firstSeqs(settlements)),
  ];
}
