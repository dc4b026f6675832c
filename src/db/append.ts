import type { Appended, NewEvent } from "../domain/event.ts";
import type { Database } from "./pool.ts";

/** Why a request was not stored, and which of its events is at fault. */
export type Refusal = (Fault & OfAccount) | RefusalOfCell;

/** A request that came to a cell in which its account does not lie, or not for much longer. */
export interface RefusalOfCell extends Fault {
  readonly code: "wrong_cell" | "bucket_moving";
}

interface Fault {
  /** Of the event within its request, from 0. */
  readonly index: number;
  readonly accountId: string;
}

interface OfAccount {
  readonly code: "event_id_reused" | "seq_unexpected" | "account_full";
  /** The account's last seq at that moment. */
  readonly currentSeq: number;
}

/** What became of one request: the seqs of its events, or why none of them was stored. */
export type AppendAnswer = { readonly appended: readonly Appended[] } | { readonly refusal: Refusal };

type Row = { accountId: string; currentSeq: number } & (
  | { seq: number; duplicate: boolean }
  | { seq: null; refusal: Refusal["code"] | null }
);

const APPEND = {
  name: "inturn_append_requests",
  text: `
    select account_id as "accountId", seq, duplicate, refusal, current_seq as "currentSeq"
    from inturn.append_requests(
      $1::text[], $2::json[], $3::text[], $4::text[], $5::timestamptz[], $6::json[], $7::bigint[], $8::integer[], $9::bigint)`,
};

/**
 * Stores the events of these requests, one request after the other, in one transaction; answers in their order once it is
 * committed. Each request is stored whole or not at all.
 *
 * @param options.accountPendingMax how many events of one account may wait
 */
export async function appendRequests(
  database: Database,
  requests: readonly (readonly NewEvent[])[],
  options: { accountPendingMax: number },
): Promise<AppendAnswer[]> {
  const events = requests.flat();
  const column = <Key extends keyof NewEvent>(key: Key) => events.map((event) => event[key]);
  const values = [
    column("accountId"),
    column("data"),
    column("type"),
    column("id"),
    column("occurredAt"),
    column("metadata"),
    column("expectedSeq"),
    requests.map((request) => request.length),
    options.accountPendingMax,
  ];
  const { rows } = await database.query<Row>({ ...APPEND, values });
  let start = 0;
  return requests.map((request) => toAnswer(rows.slice(start, (start += request.length))));
}

function toAnswer(rows: readonly Row[]): AppendAnswer {
  const appended: Appended[] = [];
  for (const [index, row] of rows.entries()) {
    const { accountId, currentSeq } = row;
    if (row.seq !== null) appended.push({ accountId, seq: row.seq, duplicate: row.duplicate });
    else if (row.refusal === "wrong_cell" || row.refusal === "bucket_moving")
      return { refusal: { code: row.refusal, index, accountId } };
    else if (row.refusal !== null) return { refusal: { code: row.refusal, index, accountId, currentSeq } };
  }
  return { appended };
}
