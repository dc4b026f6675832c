import type { AccountState } from "../domain/account.ts";
import { compareBytes } from "../domain/byte-order.ts";
import { momentOf, recordAttempts } from "./attempts.ts";
import { plainArray } from "./plain-array.ts";
import type { Queryable } from "./pool.ts";
import { type Settlement, settleInTransactionQuery, settleQuery } from "./settle-statement.ts";
import { isIn } from "./transaction.ts";

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
 * A settle whose answer got lost may be sent again: under its epoch no other worker can have moved the account past the event, so the
 * repetition changes nothing and hears how the account stands. Not so inside a transaction of a handler's: an event that is settled
 * already, in whichever way, is none that its writes may be committed for.
 */
const SETTLED_BEFORE = `
  select i.number, a.state, ceil(date_part('epoch', clock_timestamp()) * 1000000) as "databaseUs"
  from unnest($1::text[], $2::bigint[], $3::bigint[]) with ordinality as i (account_id, epoch, seq, number)
  join inturn.accounts as a on a.id = i.account_id and a.epoch = i.epoch and a.processed_seq = i.seq`;

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
  const { rows } = await database.query<SettledRow>(settleQuery(sorted));
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
  const values = [
    dead.map(({ accountId }) => accountId),
    dead.map(({ seq }) => seq),
    dead.map(({ calls }) => calls.at(-1)?.attempts),
    dead.map(({ calls }) => calls.at(-1)?.startedUs),
    dead.map(({ error }) => error),
  ];
  await database.query({ text: REMEMBER, values }).catch(() => undefined);
}

const REMEMBER = recordAttempts(`
  select i.account_id, i.seq, i.attempt, null::uuid as worker_id, ${momentOf("i.started_us")} as started_at, e.outcome || '-letter' as outcome, i.error
  from unnest($1::text[], $2::bigint[], $3::integer[], $4::bigint[], $5::text[]) as i (account_id, seq, attempt, started_us, error)
  join inturn.events as e on e.account_id = i.account_id and e.seq = i.seq and e.outcome = 'dead' and e.attempts = i.attempt
  where i.started_us is not null`);

/**
 * Settles one event inside a transaction that is open already, together with whatever was written in it.
 *
 * @param mark of the transaction; in another one it writes nothing, and answers `elsewhere`
 */
export async function settleInTransaction(
  client: Queryable,
  settlement: Settlement,
  mark: string,
): Promise<Settled | "elsewhere" | undefined> {
  const { rows } = await client.query<Settled>(settleInTransactionQuery(settlement, mark));
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
  const values = [
    refused.map(({ accountId }) => accountId),
    refused.map(({ epoch }) => epoch),
    refused.map(({ seq }) => seq),
    refused.map(({ calls: [first] }) => first.startedUs),
    refused.map(({ calls: [first] }) => first.fromSeq),
  ];
  // Only a trace: a settle must not fail because of it.
  await database.query({ text: NOTE_EARLY_STARTS, values }).catch(() => undefined);
}

const NOTE_EARLY_STARTS = `
  update inturn.events as e
  set started_at = least(e.started_at, ${momentOf("i.started_us")})
  from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) as i (account_id, epoch, seq, started_us, from_seq)
  join inturn.accounts as a on a.id = i.account_id and a.epoch = i.epoch and a.processed_seq < i.from_seq - 1
  where e.account_id = i.account_id and e.seq between i.from_seq and i.seq`;
